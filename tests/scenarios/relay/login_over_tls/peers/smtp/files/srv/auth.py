import base64, os, socket, threading
# Dovecot's authentication protocol, as far as Postfix asks: one user, one mechanism.
path = "/var/spool/postfix/private/auth"
server = socket.socket(socket.AF_UNIX)
# It has its name when it listens.
server.bind(path + ".new")
os.chmod(path + ".new", 0o666)
server.listen()
os.rename(path + ".new", path)
def serve(peer):
    lines = peer.makefile("rw", newline="\n")
    lines.write("VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n")
    lines.flush()
    for line in lines:
        words = line.rstrip("\n").split("\t")
        if words[0] == "AUTH":
            response = [word[5:] for word in words if word.startswith("resp=")]
            user, password = base64.b64decode(response[0]).decode().split("\0")[1:]
            good = (user, password) == ("horus", "clave-horus")
            lines.write("%s\t%s\tuser=%s\n" % ("OK" if good else "FAIL", words[1], user))
            lines.flush()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

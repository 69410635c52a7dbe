import socket, ssl
listener = socket.create_server(("127.0.0.1", 2526))
open("/srv/listo", "w").close()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/clave.pem")
heard = open("/srv/oido", "w", buffering=1)
while True:
    conn, _ = listener.accept()
    conn.sendall(b"220 mx.inyecta.org ESMTP\r\n")
    stream, data, clear = conn.makefile("rb"), False, True
    while True:
        line = stream.readline()
        if not line:
            break
        line = line.decode().rstrip("\r\n")
        if data:
            data = line != "."
            if data:
                continue
        heard.write(("clear: " if clear else "encrypted: ") + line + "\n")
        verb = line.split(" ")[0]
        if verb == "EHLO":
            answer = "250-mx.inyecta.org\r\n250-STARTTLS\r\n250 PIPELINING" if clear else "250-mx.inyecta.org\r\n250 SIZE 1000000"
        elif verb == "STARTTLS":
            conn.sendall(b"220 2.0.0 go\r\n250-mx.inyecta.org\r\n250-AUTH PLAIN\r\n250 SIZE 1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n")
            conn = context.wrap_socket(conn, server_side=True)
            stream, clear = conn.makefile("rb"), False
            continue
        elif verb == "DATA":
            answer, data = "354 go", True
        elif verb == "QUIT":
            answer = "221 2.0.0 Bye"
        else:
            answer = "250 2.0.0 Ok"
        conn.sendall(answer.encode() + b"\r\n")
        if verb == "QUIT":
            break
    conn.close()

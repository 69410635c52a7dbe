# A filter before the queue: passes each command on to the listener behind it, and refuses mail that says "spam".
import socketserver, socket

class Filter(socketserver.StreamRequestHandler):
    def handle(self):
        behind = socket.create_connection(("127.0.0.1", 10026)).makefile("rwb", 0)
        def answer():
            lines = b""
            while True:
                line = behind.readline()
                lines += line
                if line[3:4] != b"-":
                    return lines
        self.wfile.write(answer())
        while line := self.rfile.readline():
            behind.write(line)
            reply = answer()
            self.wfile.write(reply)
            if line.upper().startswith(b"DATA") and reply.startswith(b"354"):
                text = []
                while (line := self.rfile.readline()) != b".\r\n":
                    if not line:
                        return
                    text.append(line)
                if b"spam" in b"".join(text):
                    self.wfile.write(b"554 5.7.1 Spam is not wanted here\r\n")
                    return
                behind.write(b"X-Filtered: yes\r\n" + b"".join(text) + b".\r\n")
                self.wfile.write(answer())
            elif line.upper().startswith(b"QUIT"):
                return

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

server = Server(("127.0.0.1", 10025), Filter)
open("/run/filter.ready", "w").close()
server.serve_forever()

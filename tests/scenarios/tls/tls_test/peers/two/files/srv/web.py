"""A web server of policies: what it says depends on the name that it is asked for."""
import http.server
import ssl

MODES = {
    "a": ("enforce", "mx1.two.org"),
    "b": ("enforce", "*.another.org"),
    "c": ("testing", "mx4.two.org"),
    "d": ("enforce", "mx1.two.org"),
    "f": ("enforce", "mx7.two.org"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        domain = self.headers["Host"].split(".")[1]
        if self.path != "/.well-known/mta-sts.txt" or domain not in MODES:
            self.send_error(404)
            return
        mode, mx = MODES[domain]
        text = f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 604800\r\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("10.77.2.20", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/ssl/two/web.chain")
server.socket = context.wrap_socket(server.socket, server_side=True)
open("/srv/web.ready", "w").close()
server.serve_forever()

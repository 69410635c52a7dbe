"""Runs `openssl s_server` on one port for each row, and says as much SMTP through it as a message needs."""
import subprocess
import threading

CERTIFICATE = "/etc/ssl/two/rsa.pem"
ROWS = [
    "-tls1_3",
    "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
    "-tls1_3 -groups P-256",
    "-tls1_3 -groups P-384",
    "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
    "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305 -groups P-256",
    "-no_ticket -num_tickets 0 -verify 3 -verify_quiet",
    "-tls1_3 -max_send_frag 512 -record_padding 700",
    "OPENSSL_CONF=/etc/ssl/two/no_ems.cnf -tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384",
    "-tls1_2 -cipher AES128-SHA",
    "-tls1_2 -cipher ECDHE-RSA-AES256-SHA",
    "-tls1_1 -cipher ALL:@SECLEVEL=0",
    "-tls1_3 -groups brainpoolP256r1:sect571r1",
]


def line(program, text):
    program.stdin.write(text.encode() + b"\r\n")
    program.stdin.flush()


def session(program):
    line(program, "220 mx4.two.org ESMTP")
    message = False
    for read in program.stdout:
        read = read.strip().upper()
        if message:
            if read == b".":
                message = False
                line(program, "250 2.0.0 taken")
        elif read.startswith(b"EHLO"):
            # Long enough for several small records.
            for number in range(40):
                line(program, "250-X-FILLER-%d" % number)
            line(program, "250 8BITMIME")
        elif read == b"DATA":
            message = True
            line(program, "354 go on")
        elif read == b"QUIT":
            line(program, "221 bye")
            return
        else:
            line(program, "250 ok")


def serve(port, options):
    words = options.split()
    setting = 0 if words[0].startswith("-") else 1
    while True:
        program = subprocess.Popen(
            ["env"] + words[:setting] + ["openssl", "s_server", "-quiet", "-naccept", "1"]
            + ["-accept", "10.77.2.14:%d" % port, "-cert", CERTIFICATE, "-key", CERTIFICATE] + words[setting:],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            session(program)
            # A short while for the client to close, and then this goes.
            program.stdin.close()
            program.wait(60)
        except (OSError, subprocess.TimeoutExpired):
            pass
        program.kill()
        program.wait()


for number, options in enumerate(ROWS, 1):
    threading.Thread(target=serve, args=(4650 + number, options)).start()

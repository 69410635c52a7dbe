import smtplib, sys, hashlib
size, subject = int(sys.argv[1]), sys.argv[2]
line = "%07d " + "x" * 60 + "\r\n"
body = "".join(line % n for n in range(size // 70))
with smtplib.SMTP("127.0.0.1", 25, local_hostname="pc") as s:
    s.sendmail("ana@fuera.org", ["usuario@josedomingo.org"], "Subject: %s\r\nFrom: ana@fuera.org\r\nMessage-Id: <%s@fuera.org>\r\nDate: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)\r\n\r\n%s" % (subject, subject, body))

import os, smtplib, time
from email.message import EmailMessage
m = EmailMessage()
m["From"], m["To"], m["Subject"] = "jose@josedomingo.org", "usuario@josedomingo.org", "pitón ñ"
m["Message-ID"], m["Date"] = "<py@prueba>", "Fri, 20 Nov 2026 15:18:56 +0000"
m.set_content("hola ñandú\n", cte="8bit")
with smtplib.SMTP("127.0.0.1", 25, local_hostname="vostro") as s:
    s.ehlo()
    print(sorted(k for k in s.esmtp_features if k != "starttls"))
    print(s.send_message(m))
    while not (os.path.exists("/var/mail/usuario") and os.path.getsize("/var/mail/usuario")):
        time.sleep(0.05)
    print(s.sendmail("jose@josedomingo.org", ["usuario@josedomingo.org", "noexiste@josedomingo.org"], b"Subject: dos\r\n\r\nhola\r\n", mail_options=["BODY=8BITMIME"]))
    try:
        s.sendmail("jose@josedomingo.org", ["noexiste@josedomingo.org"], b"x")
    except smtplib.SMTPRecipientsRefused as e:
        print(e.recipients)
    print(s.verify("usuario"), s.noop(), s.rset())

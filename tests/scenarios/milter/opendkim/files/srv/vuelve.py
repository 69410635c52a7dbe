import mailbox, smtplib
for m in mailbox.mbox("/var/mail/usuario"):
    text = m.as_bytes().replace(b"\n", b"\r\n")
    for message in text, text.replace(b"hola", b"adios"):
        with smtplib.SMTP("127.0.0.1", 2525, local_hostname="pc") as s:
            s.sendmail("jose@josedomingo.org", ["alumno@josedomingo.org"], message)

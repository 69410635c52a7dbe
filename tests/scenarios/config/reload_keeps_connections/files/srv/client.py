import smtplib, subprocess
def sh(command): subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
old = smtplib.SMTP("127.0.0.1", 25, local_hostname="vostro")
print(old.ehlo()[0])
sh("postconf -e 'smtpd_banner=$myhostname nuevo' && postfix reload")
print(old.mail("jose@josedomingo.org"), old.rcpt("usuario@josedomingo.org"))
print(old.data(b"Subject: reload\r\n\r\nhola\r\n")[0])
for _ in range(200):
    new = smtplib.SMTP()
    reply = new.connect("127.0.0.1", 25)
    new.quit()
    if b"nuevo" in reply[1]: break
print(reply)
print(old.quit())

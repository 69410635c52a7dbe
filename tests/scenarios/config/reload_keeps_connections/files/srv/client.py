import smtplib, subprocess, time
def sh(command): subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
old = smtplib.SMTP("127.0.0.1", 25, local_hostname="vostro")
print(old.ehlo()[0])
sh("postconf -e 'smtpd_banner=$myhostname nuevo' && postfix reload")
print(old.mail("jose@josedomingo.org"), old.rcpt("usuario@josedomingo.org"))
print(old.data(b"Subject: reload\r\n\r\nhola\r\n")[0])
time.sleep(1)  # when a reload takes effect is not promised
new = smtplib.SMTP()
reply = new.connect("127.0.0.1", 25)
new.quit()
print(reply)
print(old.quit())

import os, smtplib, time
old = smtplib.SMTP("127.0.0.1", 25, local_hostname="vostro")
print(old.ehlo()[0])
open("/tmp/greeted", "w").close()
while not os.path.exists("/tmp/reloaded"):
    time.sleep(0.05)
print(old.mail("jose@josedomingo.org"), old.rcpt("usuario@josedomingo.org"))
print(old.data(b"Subject: reload\r\n\r\nhola\r\n")[0])
new = smtplib.SMTP()
reply = new.connect("127.0.0.1", 25)
new.quit()
print(reply)
print(old.quit(), flush=True)
open("/tmp/done", "w").close()

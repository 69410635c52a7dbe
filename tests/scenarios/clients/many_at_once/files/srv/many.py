import smtplib, subprocess, threading
def send(n):
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="vostro") as s:
        s.sendmail("jose@josedomingo.org", ["usuario@josedomingo.org", "alumno@josedomingo.org"], f"Subject: n{n}\r\n\r\nhola\r\n")
def local(n):
    subprocess.run(["sendmail", "-i", "usuario"], input=f"Subject: l{n}\n\nhola\n".encode(), check=True)
threads = [threading.Thread(target=send, args=(n,)) for n in range(40)] + [threading.Thread(target=local, args=(n,)) for n in range(20)]
for t in threads: t.start()
for t in threads: t.join()

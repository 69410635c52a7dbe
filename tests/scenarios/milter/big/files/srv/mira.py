import hashlib, mailbox
for m in mailbox.mbox("/var/mail/usuario"):
    body = m.get_payload()
    print(m["Subject"], m["X-Uno"], m["X-Dos"], len(body), hashlib.sha256(body.encode()).hexdigest()[:16], [k for k in m.keys() if k.startswith("X-") or k in ("Received", "From")])

import mailbox, re, sys
for m in mailbox.mbox(sys.argv[1]):
    found = re.search(r"dkim=\w+ (reason=\S+)?", m["Authentication-Results"] or "")
    seen = [k for k in m.keys() if k in ("DKIM-Signature", "Authentication-Results", "Received", "From")]
    print(m["Subject"].replace("\n", "/"), "|", " ".join(seen), "|", found and found.group(0))

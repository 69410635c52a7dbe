"""Reads a message back, by IMAP over TLS or from the Maildir, and says what is in it.

usage: read.py imap HOST LOGIN PASSWORD SUBJECT TEXT ATTACHMENT
       read.py maildir FOLDER SUBJECT TEXT ATTACHMENT

Prints the headers, each on one line, then whether the text and the attachment are those of the files.
"""
import email, email.policy, imaplib, mailbox, re, ssl, sys


def by_imap(host, login, password):
    with imaplib.IMAP4_SSL(host, ssl_context=ssl.create_default_context()) as client:
        client.login(login, password)
        client.select("INBOX", readonly=True)
        for number in client.search(None, "ALL")[1][0].split():
            yield client.fetch(number, "(BODY.PEEK[])")[1][0][1]


def from_maildir(folder):
    box = mailbox.Maildir(folder, create=False)
    for key in box.keys():
        yield box.get_bytes(key)


words = sys.argv[2:]
subject, text, attachment = words[-3:]
found = by_imap(*words[:-3]) if sys.argv[1] == "imap" else from_maildir(*words[:-3])
parsed = [email.message_from_bytes(raw, policy=email.policy.SMTP) for raw in found]
parsed = [one for one in parsed if one["subject"] == subject]
if len(parsed) != 1:
    sys.exit(f"{len(parsed)} messages have the subject {subject}")
message = parsed[0]
for name, value in message.items():
    print(name + ": " + re.sub(r"\s+", " ", str(value)))


def plain(part):
    return (part.get_payload(decode=True) or b"").replace(b"\r\n", b"\n").rstrip(b"\n")


leaves = [part for part in message.walk() if not part.is_multipart()]
texts = [plain(part) for part in leaves if part.get_content_type() == "text/plain"]
others = [part.get_payload(decode=True) for part in leaves if part.get_content_type() != "text/plain"]
wanted = open(text, "rb").read().rstrip(b"\n")
print("=", "the text is the same" if texts == [wanted] else f"the text differs: {texts!r}")
if attachment != "-":
    same = open(attachment, "rb").read() in others
    print("=", "the attachment is the same" if same else f"the attachment differs: {[len(o or b'') for o in others]}")

"""Records resolve.txt: what a real trivial-rewrite answers.

Run it as root where a Postfix 3.7 may be reconfigured at will and nothing else depends on it: a container, or
namespaces with /etc/postfix, /var/spool/postfix and /var/lib/postfix of their own, in which Postfix was started with

    postlog unix-dgram n - n - 1 postlogd

and without chroot. `python3 resolve.py resolve.txt` takes about five minutes. IPv4 only, inet_interfaces = loopback-only.
"""

import socket
import subprocess
import sys
import time

ADDR = """jose@josedomingo.org jose jose@localhost jose@mail2.josedomingo.org jose@corto u@
u@remote.org u+ext@remote.org U@REMOTE.org u@sub.remote.org u@deep.sub.remote.org u@relay.org u@sub.relay.org u@virt.org u@vmail.org u@sub.vmail.org u@sub.virt.org
u@[127.0.0.1] u@[10.0.0.1] u@[IPv6:::1] u@[IPv6:fd00::1] u@10.0.0.1 u@127.0.0.1 u@[bad u@bad..org u@-x.org u@x_.org u@.org u@org. u@remote.org. u@josedomingo.org. u@xn--a.org u@a.b-.org
u%remote.org@josedomingo.org u%relay.org@relay.org remote.org!u remote.org!u@josedomingo.org a!b!u u@remote.org@josedomingo.org u@remote.org@other.org u%a%b u%a@localhost %a@localhost a%@localhost !u@localhost u!@localhost a!b@remote.org
-x@remote.org -x@josedomingo.org postmaster root@ double-bounce@josedomingo.org MAILER-DAEMON
moved@josedomingo.org moved+x@josedomingo.org u@moved.org moved@remote.org""".split()
ADDR = [a.replace('\\\\','\\') for a in ADDR] + ['a b@remote.org', '', '<u@remote.org>', 'u@rem ote.org', 'u@' + 'x'*64 + '.org', 'u@' + '.'.join(['x'*60]*5), 'u@\u00f1.org', 'u@remote.org:25', 'u@[remote.org]', 'u@remote.org/x']
SENDERS = ["s@from.org", "", "s@other.org", "s+e@from.org", "me@josedomingo.org", "s@sub.from.org", "s"]
CLASSES = "virtual_alias_domains = virt.org\nvirtual_mailbox_domains = vmail.org\nrelay_domains = relay.org\n"
CONFIGS = [
 ("", ADDR, SENDERS[:1]),
 (CLASSES, ADDR, SENDERS[:1]),
 (CLASSES + "allow_percent_hack = no\nswap_bangpath = no\n", ADDR, SENDERS[:1]),
 (CLASSES + "resolve_dequoted_address = no\n", ADDR, SENDERS[:1]),
 (CLASSES + "append_dot_mydomain = yes\n", ADDR, SENDERS[:1]),
 (CLASSES + "append_at_myorigin = no\n", ADDR, SENDERS[:1]),
 (CLASSES + "resolve_null_domain = yes\n", ADDR, SENDERS[:1]),
 (CLASSES + "resolve_numeric_domain = yes\n", ADDR, SENDERS[:1]),
 (CLASSES + "empty_address_recipient = postmaster\n", ADDR, SENDERS[:1]),
 (CLASSES + "allow_min_user = yes\n", ADDR, SENDERS[:1]),
 (CLASSES + "relayhost = [smart.org]:587\n", ADDR, SENDERS[:1]),
 (CLASSES + "relayhost = smart.org\nparent_domain_matches_subdomains =\n", ADDR, SENDERS[:1]),
]
SHORT = "jose@josedomingo.org u@remote.org u+ext@remote.org u@sub.remote.org u@deep.sub.remote.org u@relay.org u@sub.relay.org u@virt.org u@vmail.org u@[10.0.0.1] u@[127.0.0.1] u@other.org U@Remote.ORG -x@remote.org moved@remote.org u@moved.org moved+x@josedomingo.org moved@virt.org u@bad..org".split() + ['', 'a b@remote.org']
def c(text, senders=SENDERS[:1], addr=SHORT): CONFIGS.append((CLASSES + text, addr, senders))
c("relayhost = a.org, b.org\n"); c("relayhost = a.org:25 [b.org]\n"); c("relayhost = [::1]:25\n"); c("relayhost = lmtp:unix:private/x\n"); c("relayhost = smtp:[h]:26\n"); c("relayhost = $mydomain\n"); c("relayhost = [1.2.3.4]\n"); c("relayhost = a.org b.org\n")
c("local_transport = error\n"); c("local_transport = error:no local\n"); c("local_transport = lmtp:unix:private/dovecot-lmtp\n"); c("local_transport = virtual\n")
c("virtual_transport = lmtp:unix:private/dovecot-lmtp\n"); c("virtual_transport = dovecot\n"); c("virtual_transport = smtp:[h.org]:24\n"); c("virtual_transport = error:5.7.1 no\n")
c("relay_transport = smtp\nrelayhost = r.org\n"); c("relay_transport = smtp:[inner.org]\nrelayhost = r.org\n"); c("relay_transport = error\n"); c("relay_transport = error:5.1.2 no relay\n"); c("relay_transport = relay:\n")
c("default_transport = smtp:[gw.org]\n"); c("default_transport = smtp:[gw.org]\nrelayhost = r.org\n"); c("default_transport = error\n"); c("default_transport = error:outside mail is not deliverable\n"); c("default_transport = retry:later\n"); c("default_transport = smtp:\n"); c("default_transport = uucp\nrelayhost = r.org\n"); c("default_transport = retry\n"); c("default_transport = discard\n")
for row in ["remote.org=slow:", "remote.org=slow:[h]:26", "remote.org=:[h]:26", "remote.org=:", "remote.org=slow", "remote.org=smtp:a.org, b.org", ".remote.org=slow:", ".remote.org=slow:h", "*=slow:", "*=:h", "*=:", "*=error:no", "u@remote.org=one:", "u@remote.org=:h", "u+ext@remote.org=two:x", "u=three:x", "@remote.org=four:x", "josedomingo.org=smtp:[inner]", "josedomingo.org=:h", "jose@josedomingo.org=:h", "relay.org=:h", "relay.org=local:", "virt.org=smtp:x", "vmail.org=:h", "vmail.org=smtp:", "[10.0.0.1]=slow:x", "remote.org=error", "remote.org=error:", "remote.org=error:5.1.1 gone away", "remote.org=retry:", "remote.org=retry:4.2.1 wait", "remote.org=discard:", "remote.org=local:", "remote.org=local:$myhostname", "remote.org=relay:[x]", "<>=null:x", "sub.remote.org=:", "org=top:x", ".org=top:x", "remote.org=lmtp:unix:/x/y", "remote.org=lmtp:inet:h:24", "relay.org=error:no such"]:
    c("transport_maps = inline:{{%s}}\n" % row)
    if row.startswith(('.remote','remote.org=slow:','org','*=:h')): c("transport_maps = inline:{{%s}}\nparent_domain_matches_subdomains = transport_maps\n" % row)
c("transport_maps = inline:{{remote.org=:}, {*=slow:x}}\nrelayhost = r.org\n"); c("transport_maps = inline:{{remote.org=smtp:}, {.remote.org=smtp:}, {*=slow:x}}\nrelayhost = r.org\n"); c("transport_maps = inline:{{*=:x}}\nrelayhost = r.org\n"); c("transport_maps = inline:{{remote.org=slow:}}\nrelayhost = r.org\n"); c("transport_maps = inline:{{remote.org=slow}}\nrelayhost = r.org\n"); c("transport_maps = inline:{{relay.org=:}}\nrelay_transport = relay:[in]\n")
c("transport_maps = inline:{{u@remote.org=one:}}, inline:{{remote.org=two:}}\n"); c("transport_maps = regexp:{{/^u@remote/ re:$1x}, {/^.*sub/ sub:}, {/remote.org/ all:}}\n".replace('$1','')); c("transport_maps = static:st:x\n")
c("transport_maps = inline:{{MAILER-DAEMON@mail2.josedomingo.org=md:x}}\n"); c("transport_maps = inline:{{remote.org = slow:x }}\nrecipient_delimiter =\n"); c("transport_maps = fail:x\n"); c("relay_domains = fail:x\n"); c("virtual_alias_domains = fail:x\n"); c("virtual_mailbox_domains = fail:x\n"); c("sender_dependent_relayhost_maps = fail:x\n"); c("sender_dependent_default_transport_maps = fail:x\n"); c("relocated_maps = fail:x\n"); c("mydestination = fail:x\n")
few = "jose@josedomingo.org u@remote.org u@relay.org u@virt.org u@vmail.org u@[10.0.0.1]".split()
for rows in ["{@from.org=[r]:26}, {<>=[null]}, {s@other.org=o.org}", "{s@from.org=DUNNO}, {@other.org=dunno}, {@josedomingo.org=x, y}", "{from.org=[r]}, {s=[x]}, {.from.org=[z]}, {@sub.from.org=sub}", "{s@from.org=smtp:[x]}"]:
    for more in ["", "relayhost = rh.org\n", "relay_transport = smtp:[in]\ndefault_transport = smtp:[out]\n", "transport_maps = inline:{{remote.org=slow:}}\n"]:
        c("sender_dependent_relayhost_maps = inline:{%s}\n%s" % (rows, more), SENDERS, few)
for rows in ["{@from.org=t:[r]:26}, {<>=nul:}, {s@other.org=o}", "{s@from.org=DUNNO}, {@other.org=dunno}, {@josedomingo.org=error:no you}", "{from.org=x:y}, {s=x:y}, {.from.org=x:z}, {@sub.from.org=sub:}", "{s@from.org=:[x]}, {s@other.org=smtp}"]:
    for more in ["", "relayhost = rh.org\n", "default_transport = smtp:[out]\n", "transport_maps = inline:{{remote.org=slow:}}\n", "sender_dependent_relayhost_maps = inline:{{@from.org=[sdr]}, {@other.org=[sdo]}, {<>=[sdn]}}\nrelayhost = rh.org\n"]:
        c("sender_dependent_default_transport_maps = inline:{%s}\n%s" % (rows, more), SENDERS, few)
c("empty_address_relayhost_maps_lookup_key = nobody\nsender_dependent_relayhost_maps = inline:{{nobody=[n]}}\n", SENDERS, few)
c("empty_address_default_transport_maps_lookup_key = nobody\nsender_dependent_default_transport_maps = inline:{{nobody=n:m}}\n", SENDERS, few)
rel = "relocated_maps = inline:{{moved@josedomingo.org=new@x.org}, {moved@remote.org=tel. 1234 5678}, {@moved.org=elsewhere}, {moved@virt.org=n@v.org}, {moved=local}}\n"
c(rel); c(rel + "transport_maps = inline:{{remote.org=slow:}, {moved.org=error:x}}\n"); c(rel + "relayhost = r.org\n", addr=ADDR)
c("mydestination = $myhostname, .josedomingo.org, josedomingo.org, localhost\n", addr=ADDR[:30]); c("mydestination =\n", addr=ADDR[:30]); c("proxy_interfaces = 10.0.0.1\n", addr=ADDR[:30]); c("mydestination = inline:{{remote.org=x}}\nmyorigin = remote.org\n", addr=ADDR[:30])
c("virtual_alias_domains = $virtual_alias_maps\nvirtual_alias_maps = inline:{{virt.org=x}, {a@b.org=c}}\n", addr=few + ['x@b.org','a@b.org']); c("virtual_mailbox_domains = $virtual_mailbox_maps\nvirtual_mailbox_maps = inline:{{vmail.org=x}}\n", addr=few)
c("virtual_alias_domains = relay.org\n", addr=few); c("virtual_mailbox_domains = relay.org virt.org\n", addr=few); c("relay_domains = $mydestination\n", addr=few + ['u@sub.josedomingo.org','u@sub.localhost']); c("relay_domains = .relay.org\n", addr=SHORT); c("relay_domains = !sub.relay.org relay.org\n", addr=SHORT); c("show_user_unknown_table_name = no\n", addr=few); c("recipient_delimiter = -\ntransport_maps = inline:{{u@remote.org=x:y}}\n", addr=['u-x@remote.org','u+x@remote.org','owner-u@remote.org','u-request@remote.org'])

MAIN = """myhostname = mail2.josedomingo.org
mydomain = josedomingo.org
myorigin = josedomingo.org
mydestination = $myhostname, josedomingo.org, localhost
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
recipient_delimiter = +
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
compatibility_level = 3.6
"""


def call(*pairs):
    """One request to the service; the words of its answer."""
    service = socket.socket(socket.AF_UNIX)
    service.settimeout(8)
    service.connect("/var/spool/postfix/private/rewrite")
    service.sendall(b"".join(word.encode() + b"\0" for word in pairs) + b"\0")
    data = b""
    while data.count(b"\0\0") < 2:  # its greeting, and its answer
        more = service.recv(4096)
        if not more:
            break
        data += more
    service.close()
    return data.split(b"\0")


def ask(sender, address):
    """Completes an address as cleanup does, and asks where it goes."""
    if address and address.count("@") < 2 and not set(address) & set(' "<>[]'):
        words = call("request", "rewrite", "rule", "local", "address", address)
        if b"address" in words:
            address = words[words.index(b"address") + 1].decode()
    words = call("request", "resolve", "sender", sender, "address", address)
    found = {}
    for at in range(len(words) - 1):
        # The first flags are the service's own.
        if words[at] in (b"transport", b"nexthop", b"recipient") or words[at] == b"flags" and at > 4:
            found.setdefault(words[at].decode(), words[at + 1].decode("utf8", "replace"))
    return [found.get(name) for name in ("transport", "nexthop", "recipient", "flags")]


def main():
    blocks = []
    for text, addresses, senders in CONFIGS:
        with open("/etc/postfix/main.cf", "w") as main_cf:
            main_cf.write(MAIN + text)
        subprocess.run(["postfix", "reload"], check=True, capture_output=True)
        for _ in range(40):
            time.sleep(0.1)
            try:
                if ask("x@y", "z@w")[0]:
                    break
            except OSError:
                pass
        time.sleep(0.25)
        lines = ["# " + line for line in text.splitlines()] or ["#"]
        for sender in senders:
            for address in addresses:
                answer = ask(sender, address)
                if None not in answer:
                    lines.append("\t".join([sender, address] + answer))
        blocks.append("\n".join(lines))
    with open(sys.argv[1], "w") as table:
        table.write("\n\n".join(blocks) + "\n")


main()

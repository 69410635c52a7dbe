# Starts one opendkim, and waits until its socket is there.
mkdir -p /var/spool/postfix/opendkim && chown opendkim /var/spool/postfix/opendkim
(setsid opendkim -f -x "$1" </dev/null >/dev/null 2>&1 &)
n=0
until eval "$2" 2>/dev/null; do n=$((n+1)); test $n -lt 100 || exit 1; sleep 0.1; done

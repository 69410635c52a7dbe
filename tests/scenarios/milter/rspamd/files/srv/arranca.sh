# Starts rspamd, and waits until it listens.
mkdir -p /run/rspamd && chown _rspamd:_rspamd /run/rspamd
(setsid rspamd -f -u _rspamd -g _rspamd -c /srv/rspamd.conf </dev/null >/run/rspamd/said 2>&1 &)
n=0
until bash -c '</dev/tcp/127.0.0.1/11332' 2>/dev/null; do
    n=$((n+1))
    test $n -lt 300 || { cat /run/rspamd/said /run/rspamd/log; exit 1; }
    sleep 0.1
done

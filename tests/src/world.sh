# Builds a world: run by `unshare` as the first process of its namespaces. Everything a mail system writes or reads by
# name is its own: /etc, /dev, the spools, the homes. Ends, and the world with it, when its standard input closes.
# From the environment: FQDN, USERS (name:uid:full name, by lines), INSIDE and OUTSIDE (the devices, for `ip -batch`),
# TREE and HIDE for valija's world.
set -e
mount --make-rprivate /
hostname "${FQDN%%.*}"
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir -p /mnt/tree /mnt/etc /mnt/dev /mnt/host
if [ -n "$TREE" ]; then mount --bind "$TREE" /mnt/tree; fi

cp -a /etc/. /mnt/etc/
for name in null zero full random urandom tty; do
    : >"/mnt/dev/$name"
    mount --bind "/dev/$name" "/mnt/dev/$name"
done
mkdir -m 1777 /mnt/dev/shm
ln -s /proc/self/fd /mnt/dev/fd
ln -s fd/0 /mnt/dev/stdin
ln -s fd/1 /mnt/dev/stdout
ln -s fd/2 /mnt/dev/stderr
mount --bind /mnt/etc /etc
mount --rbind /mnt/dev /dev
for folder in /var/spool /var/mail /var/lib/postfix /home /srv /root /run /usr/local/bin /tmp; do
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
chmod 1777 /tmp
chmod 2775 /var/mail
chown root:mail /var/mail
ln -s ../mail /var/spool/mail
chown postfix:postfix /var/lib/postfix

# The spool as the package leaves it.
cd /var/spool
mkdir postfix postfix/pid postfix/dev postfix/etc postfix/lib postfix/usr
cd postfix
mkdir -m 700 active bounce corrupt defer deferred flush incoming private saved
mkdir -m 2710 public
mkdir maildrop
chown postfix active bounce corrupt defer deferred flush incoming private saved
chown postfix:postdrop public maildrop
chmod 2710 public
chmod 1730 maildrop

# Names.
cd /
rm -f /etc/postfix/main.cf /etc/postfix/master.cf /etc/aliases /etc/aliases.db
awk -F: '$3 < 1000 || $3 > 60000' /mnt/etc/passwd >/mnt/passwd
awk -F: '$3 < 1000 || $3 > 60000' /mnt/etc/group >/mnt/group
printf '%s\n' "$USERS" | while IFS=: read -r name uid full; do
    echo "$name:x:$uid:$uid:$full,,,:/home/$name:/bin/bash" >>/mnt/passwd
    echo "$name:x:$uid:" >>/mnt/group
    mkdir "/home/$name"
    chown "$uid:$uid" "/home/$name"
done
cat /mnt/passwd >/etc/passwd
cat /mnt/group >/etc/group
printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s %s\n::1\tlocalhost ip6-localhost ip6-loopback\n' "$FQDN" "${FQDN%%.*}" >/etc/hosts
rm -f /etc/resolv.conf
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n' >/etc/nsswitch.conf
ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
# `mail` waits for sendmail, so that the runner knows that a message was handed over.
echo 'set sendwait' >>/etc/mail.rc

# A network: this host, and one outside of mynetworks, where scripted servers and the ways to further hosts are, too.
mkdir -p /run/netns
ip link set lo up
if [ -n "$OUTSIDE" ]; then
    ip netns add outside
    ip link add eth0 type veth peer name eth0 netns outside
    printf '%s\n' "$INSIDE" | ip -batch -
    ip -n outside link set lo up
    printf '%s\n' "$OUTSIDE" | ip -n outside -batch -
fi

# valija's programs take the place of Debian's Postfix, of which nothing can be reached.
unite() {
    mkdir -p "/mnt/host$1" "/mnt/union$1"
    mount --bind "$1" "/mnt/host$1"
    ln -s "/mnt/host$1"/* "/mnt/union$1/"
    for path in $HIDE; do
        case "$path" in "$1"/*/*) ;; "$1"/*) rm -f "/mnt/union$path" ;; esac
    done
    for path in "/mnt/tree$1"/*; do
        name="/mnt/union$1/${path##*/}"
        if [ -d "$name" ]; then
            continue # the host's own
        elif [ -L "$path" ]; then
            rm -f "$name"
            cp -a "$path" "$name"
        elif [ -d "$path" ]; then
            rm -f "$name"
            mkdir "$name"
            mount --bind "$path" "$name"
        elif [ -e "$path" ]; then
            rm -f "$name"
            : >"$name"
            mount --bind "$path" "$name"
        fi
    done
    mount --rbind "/mnt/union$1" "$1"
}
if [ -n "$TREE" ]; then
    unite /usr/sbin
    unite /usr/lib
    if [ -d /mnt/tree/usr/libexec ]; then unite /usr/libexec; fi
else
    # What chrooted daemons of Postfix read.
    cp /etc/hosts /etc/resolv.conf /etc/nsswitch.conf /etc/services /etc/localtime /var/spool/postfix/etc/
fi

echo ready
# Not by exec: the shell reaps what daemons leave behind.
cat >/dev/null
exit 0

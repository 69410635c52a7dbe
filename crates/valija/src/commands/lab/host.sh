# Builds one host of `valija lab`: run by `unshare` as the first process of namespaces of its own. Everything a mail
# system writes, or reads by name, lies in memory and ends with the host; nothing of the machine is changed. The host
# ends, with all its processes, when its standard input closes, and that happens however the lab's own process ends.
# From the environment: KIND (valija, postfix, client or names), NAME, FQDN, DNS, USERS (name:uid:full name), VALIJA,
# MASTER and POSTDROP (valija's programs), SETUP (words for `valija setup`), SETTINGS (for `postconf -e`, by lines),
# ALIASES.
set -e
echo built
read -r go # the devices are there

mount --make-rprivate /
hostname "$NAME"
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir -p /mnt/etc /mnt/dev /mnt/host /mnt/valija/sbin /mnt/valija/lib/valija
for program in "$VALIJA=sbin/valija" "$MASTER=lib/valija/valija-master"; do
    : >"/mnt/valija/${program#*=}"
    mount --bind "${program%%=*}" "/mnt/valija/${program#*=}"
done

cp -a /etc/. /mnt/etc/
for name in null zero full random urandom tty; do
    : >"/mnt/dev/$name"
    mount --bind "/dev/$name" "/mnt/dev/$name"
done
mkdir -m 1777 /mnt/dev/shm
mkdir /mnt/dev/pts
if [ -e /dev/pts/ptmx ]; then mount --rbind /dev/pts /mnt/dev/pts && ln -s pts/ptmx /mnt/dev/ptmx; fi
ln -s /proc/self/fd /mnt/dev/fd
ln -s fd/0 /mnt/dev/stdin
ln -s fd/1 /mnt/dev/stdout
ln -s fd/2 /mnt/dev/stderr
mount --bind /mnt/etc /etc
mount --rbind /mnt/dev /dev
ip link set lo up

if [ "$KIND" = names ]; then
    /mnt/valija/sbin/valija lab names </dev/null >/dev/null &
    echo ready
    trap '' CHLD
    exec cat >/dev/null
fi

state=/var/lib/postfix
if ! [ -d "$state" ]; then state=/var/lib; fi
for folder in "$state" /var/spool /var/mail /var/log /home /srv /root /run /tmp; do
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
chmod 1777 /tmp
mkdir -p /var/lib/postfix
ln -s ../mail /var/spool/mail

# Names: the machine's system users, and the lab's own people.
rm -rf /etc/postfix/main.cf /etc/postfix/sasl /etc/aliases /etc/aliases.db /etc/mailname
if [ "$KIND" = valija ]; then rm -f /etc/postfix/master.cf; fi
mkdir -p /etc/postfix
awk -F: '$3 < 1000 || $3 > 60000' /mnt/etc/passwd >/mnt/passwd
awk -F: '$3 < 1000 || $3 > 60000' /mnt/etc/group >/mnt/group
grep -q '^postdrop:' /mnt/group || echo 'postdrop:x:991:' >>/mnt/group
grep -q '^postfix:' /mnt/group || echo 'postfix:x:990:' >>/mnt/group
grep -q '^postfix:' /mnt/passwd || echo 'postfix:x:990:990::/var/spool/postfix:/usr/sbin/nologin' >>/mnt/passwd
printf '%s\n' "$USERS" | while IFS=: read -r name uid full; do
    echo "$name:x:$uid:$uid:$full,,,:/home/$name:/bin/bash" >>/mnt/passwd
    echo "$name:x:$uid:" >>/mnt/group
    mkdir "/home/$name"
    chown "$uid:$uid" "/home/$name"
done
cat /mnt/passwd >/etc/passwd
cat /mnt/group >/etc/group
chown root:mail /var/mail
chmod 2775 /var/mail
chown postfix:postfix /var/lib/postfix
printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s %s\n::1\tlocalhost ip6-localhost\n' "$FQDN" "$NAME" >/etc/hosts
rm -f /etc/resolv.conf
echo "nameserver $DNS" >/etc/resolv.conf
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n' >/etc/nsswitch.conf
echo "PS1='\\u@$NAME:\\w\\$ '" >>/etc/bash.bashrc
[ ! -e /etc/mail.rc ] || echo 'set sendwait' >>/etc/mail.rc

# The spool as a package leaves it.
mkdir /var/spool/postfix
cd /var/spool/postfix
mkdir pid dev etc lib usr active bounce corrupt defer deferred flush incoming private saved public maildrop
chown postfix active bounce corrupt defer deferred flush incoming private saved
chmod 700 active bounce corrupt defer deferred flush incoming private saved
chown postfix:postdrop public maildrop
chmod 2710 public
chmod 1730 maildrop
cd /

if [ "$KIND" = valija ]; then
    for name in postfix sendmail mailq newaliases postconf postmap postalias postsuper postcat postlog; do
        ln -s valija "/mnt/valija/sbin/$name"
    done
    cp "$POSTDROP" /mnt/valija/sbin/postdrop
    chgrp postdrop /mnt/valija/sbin/postdrop
    chmod 2755 /mnt/valija/sbin/postdrop
    ln /mnt/valija/sbin/postdrop /mnt/valija/sbin/postqueue
    # valija's commands take the place of what the machine has in /usr/sbin; the links elsewhere lead there.
    mkdir -p /mnt/host/usr/sbin /mnt/union/usr/sbin
    mount --bind /usr/sbin /mnt/host/usr/sbin
    ln -s /mnt/host/usr/sbin/* /mnt/union/usr/sbin/
    for path in /mnt/valija/sbin/*; do ln -sf "$path" "/mnt/union/usr/sbin/${path##*/}"; done
    mount --rbind /mnt/union/usr/sbin /usr/sbin
fi

/mnt/valija/sbin/valija lab syslog "$NAME" </dev/null >/dev/null &
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ ! -S /dev/log ] || break
    sleep 0.1
done

if [ "$KIND" != client ]; then
    [ -e /etc/postfix/master.cf ] || [ "$KIND" = valija ] || cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
    # shellcheck disable=SC2086 # words
    /mnt/valija/sbin/valija setup $SETUP --hostname "$FQDN" --yes >/dev/null
    printf '%s\n' "$SETTINGS" | while IFS= read -r setting; do
        [ -z "$setting" ] || postconf -e "$setting"
    done
    if [ -n "$ALIASES" ]; then printf '%s\n' "$ALIASES" >>/etc/aliases; fi
    newaliases
    if [ "$KIND" = postfix ]; then
        cp /etc/hosts /etc/resolv.conf /etc/nsswitch.conf /etc/services /etc/localtime /var/spool/postfix/etc/
    fi
    postfix start 2>/dev/null >/dev/null
fi
trap '' CHLD # no zombies
echo ready
exec cat >/dev/null

# make install DESTDIR=…   lays valija out as Debian lays out Postfix
PREFIX  ?= /usr
DESTDIR ?=
SBINDIR  = $(PREFIX)/sbin
BINDIR   = $(PREFIX)/bin
LIBDIR   = $(PREFIX)/lib/valija
MANDIR   = $(PREFIX)/share/man
UNITDIR ?= /usr/lib/systemd/system
CONFDIR ?= /etc/postfix
PROFILE ?= release
CARGO   ?= cargo
TARGET   = $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
LINKS    = postfix sendmail postconf postmap postalias postsuper postcat postlog

.PHONY: all build install check

all: build

# Two builds: what is linked into the root program must not depend on what the other one needs.
build:
	$(CARGO) build --profile $(PROFILE) -p master -p postdrop
	$(CARGO) build --profile $(PROFILE) -p valija

# Set-gid and ownership need root and the group postdrop; a package does the same in its scripts.
install: build
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(CONFDIR)
	install -m 755 $(TARGET)/valija $(DESTDIR)$(SBINDIR)/valija
	for name in $(LINKS); do ln -sf valija $(DESTDIR)$(SBINDIR)/$$name; done
	for name in mailq newaliases; do ln -sf ../sbin/valija $(DESTDIR)$(BINDIR)/$$name; done
	ln -sf ../sbin/sendmail $(DESTDIR)$(PREFIX)/lib/sendmail
	install -m 755 $(TARGET)/valija-master $(DESTDIR)$(LIBDIR)/valija-master
	for name in postdrop postqueue; do \
	  install -m 755 $(TARGET)/valija-postdrop $(DESTDIR)$(SBINDIR)/$$name; \
	  if [ "$$(id -u)" = 0 ] && getent group postdrop >/dev/null; then \
	    chgrp postdrop $(DESTDIR)$(SBINDIR)/$$name && chmod 2755 $(DESTDIR)$(SBINDIR)/$$name; \
	  else echo "note: make $(SBINDIR)/$$name set-gid postdrop (chgrp postdrop, chmod 2755)"; fi; \
	done
	sed 's|@SBINDIR@|$(SBINDIR)|' packaging/postfix.service > $(DESTDIR)$(UNITDIR)/postfix.service
	for page in docs/man/*.[158]; do [ -e "$$page" ] || continue; \
	  s=$${page##*.}; install -d $(DESTDIR)$(MANDIR)/man$$s; install -m 644 $$page $(DESTDIR)$(MANDIR)/man$$s/; done
	[ -e $(DESTDIR)$(CONFDIR)/master.cf ] || install -m 644 packaging/master.cf $(DESTDIR)$(CONFDIR)/master.cf
	[ -e $(DESTDIR)$(CONFDIR)/main.cf ] || echo "next: $(SBINDIR)/valija setup      (asks what kind of host this is, and writes main.cf)"

check:
	./test

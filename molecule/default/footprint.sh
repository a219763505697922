#!/bin/sh
# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Everything on this host that somebody could have touched, one thing a line: users, and files with mode, owner, size and
# time of the last change. Not listed: what apt installs, logs, and Ansible's own temporary folder.
set -eu

getent passwd
getent group
crontab -l 2>/dev/null || true
for path in /usr /var/lib/apt /var/lib/dpkg /var/cache /var/log /var/lib/ansible-tmp /tmp /run /proc /sys /dev /srv; do
    set -- "$@" -path "$path" -prune -o
done
list() { find "$@" -type d -printf '%p %y %m %u:%g\n' -o -printf '%p %y %m %u:%g %s %T@ %l\n'; }
{
    list / -xdev "$@"
    list /usr/local
} | sort

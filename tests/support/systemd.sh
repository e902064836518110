#!/bin/bash
# A systemd of its own, as the first process of new namespaces: it cannot see the machine's services, nor change its files.
#   unshare --fork --pid --mount --uts --ipc --cgroup systemd.sh FOLDER ENVIRONMENT BASE SOURCE
# FOLDER gets systemd's log. /srv/env is a virtual environment of BASE's Python with the packages of ENVIRONMENT, and cupola from SOURCE.
set -euo pipefail
folder=$1 environment=$2 base=$3 source=$4

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/{packages,source,base,units,etc}
mount --bind "$environment" /srv/packages
mount --bind "$source" /srv/source
mount --bind "$base" /srv/base
# The service's user has to reach the interpreter: a closed folder above it, such as /root, is replaced by an open one.
closed=$base
while [[ $closed != / && $(stat -c %a "$(dirname "$closed")") == *[1357] ]]; do closed=$(dirname "$closed"); done
if [[ $closed != / ]]; then
    closed=$(dirname "$closed")
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$base"
    mount --bind /srv/base "$base"
fi
for changed in /run /var/lib /var/log /var/cache; do mount -t tmpfs -o mode=755 tmpfs "$changed"; done
mkdir /run/lock /srv/etc/{upper,work}
mount -t overlay overlay -o lowerdir=/etc,upperdir=/srv/etc/upper,workdir=/srv/etc/work /etc
mount -t tmpfs -o mode=755 tmpfs /etc/systemd/system

# Its own subtrees of the control groups, in the layout of the machine.
umount -R /sys/fs/cgroup
if grep -qw name=systemd /proc/self/cgroup; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/{unified,systemd,devices}
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t proc proc /proc
hostname observatory

python=("$base"/bin/python3.*[0-9])
"${python[0]}" -m venv --without-pip /srv/env
printf '%s\n' /srv/source /srv/packages/lib/python3.*/site-packages >"$(echo /srv/env/lib/python3.*/site-packages)/tests.pth"

for target in sysinit basic multi-user shutdown; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"/srv/units/$target.target"
done
exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system:/srv/units SYSTEMD_LOG_TARGET=console \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=no </dev/null >"$folder/systemd.log" 2>&1

#!/bin/bash
# The `video` driver on a real kernel's /dev/video0 (vivid) in a virtual machine: `make test-vm`. Nightly, not part of `make test`.
# Installs QEMU through apt-get (root or sudo), unpacks Debian's kernel and virtme-ng into a cache folder; about two minutes without KVM.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cupola-vm
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
needed=()
for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static depmod:kmod v4l2-ctl:v4l-utils; do
    PATH=$PATH:/sbin:/usr/sbin command -v "${pair%%:*}" >/dev/null || needed+=("${pair#*:}")
done
[ ${#needed[@]} = 0 ] || $sudo apt-get install -y -qq --no-install-recommends "${needed[@]}"
mkdir -p "$cache"
if ! ls "$cache"/kernel/boot/vmlinuz-* >/dev/null 2>&1; then
    package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
    (cd "$cache" && apt-get download -qq "$package" && dpkg-deb -x "$package"_*.deb kernel && rm "$package"_*.deb)
fi
[ -x "$cache/venv/bin/vng" ] || { python3 -m venv "$cache/venv" && "$cache/venv/bin/pip" install -q virtme-ng==1.42; }
said=$(VNG=$cache/venv/bin/vng LIMIT=400 "$here/vivid_vm.sh" "$cache/kernel" \
    "cd '$project' && PYTHONPATH=src:. .venv/bin/python -X faulthandler tests/vm/webcam.py >/tmp/said 2>&1; status=\$?; sleep 1; cat /tmp/said; exit \$status" 2>&1)
printf '%s\n' "$said" | grep -a -v '^\[' | tail -40
printf '%s\n' "$said" | grep -a -q '"command_status": 0' || { echo "The webcam driver failed on vivid; see above." >&2; exit 1; }

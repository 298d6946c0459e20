#!/bin/sh
# The dissector's tests against other versions of Wireshark: Debian suites, each in a folder of its own.
#
#     wireshark/versions.sh FOLDER [SUITE...]        (as root; default: bullseye trixie sid)
#
# Each suite is bootstrapped once with its tshark and kept in FOLDER. A `tshark` that runs inside it is put first in
# PATH. From 4.2 on root's scripts are skipped unless the global init.lua says otherwise, so it is made to say so.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
top=$(cd "$(dirname "$0")/.." && pwd)
public=$(cd "$top/../shared/captures" 2>/dev/null && pwd || true) # the public captures, where they are
for suite in "${@:-bullseye trixie sid}"; do
  for name in $suite; do
    root=$folder/$name
    # debootstrap orders packages by a simple rule, and may end before all of sid's are set up; apt ends the work.
    [ -x "$root/usr/bin/tshark" ] ||
      debootstrap --variant=minbase --include=tshark "$name" "$root" || chroot "$root" apt-get -qy -f install
    plugins=$(chroot "$root" tshark -G folders 2>/dev/null | sed -n 's/^Global \(Lua \)\{0,1\}Plugins:[[:space:]]*//p' | tail -n 1)
    mkdir -p "$root$plugins" "$folder/bin-$name"
    echo 'run_user_scripts_when_superuser = true' > "$root$plugins/init.lua"
    for shared in /tmp "$top" $public; do
      mkdir -p "$root$shared"
      mountpoint -q "$root$shared" || mount --bind "$shared" "$root$shared"
    done
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    printf '#!/bin/sh\nexec chroot %s /usr/bin/tshark "$@"\n' "$root" > "$folder/bin-$name/tshark"
    chmod +x "$folder/bin-$name/tshark"
    echo "== $name: $("$folder/bin-$name/tshark" --version 2>/dev/null | head -n 1)"
    (cd "$top" && PATH="$folder/bin-$name:$PATH" "${PYTHON:-python3}" -m pytest -q tests/wireshark tests/dissector/test_verify.py) || true
    for shared in /proc $public "$top" /tmp; do umount "$root$shared"; done
  done
done

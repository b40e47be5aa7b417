#!/bin/sh
# unpack_game.sh GAME OUT [PASSWORD]: StarCraft II as the user has it in the folder GAME, unpacked, with its maps, as OUT.
# GAME holds the folder StarCraftII, or Blizzard's archive (SC2*.zip); and archives of maps (*Maps*.zip), where they are not in
# that folder yet. PASSWORD is a file with the password of Blizzard's archive.
set -eu
game=$1 out=$2 password=
if [ -n "${3:-}" ] && [ -f "$3" ]; then
    password=$(tr -d '\r\n' <"$3")
fi

fail() {
    echo "unpack_game.sh: $1" >&2
    exit 1
}

mkdir -p "$out"
if [ -d "$game/StarCraftII" ]; then
    cp -a "$game/StarCraftII/." "$out"
else
    set -- "$game"/SC2*.zip
    [ -f "$1" ] || fail "$game holds neither a folder StarCraftII nor an archive SC2*.zip; get one from Blizzard (docs/starcraft.md)"
    [ $# -eq 1 ] || fail "$game holds $# archives of the game: $*; leave one"
    unpacked=$(mktemp -d)
    unzip -q -P "$password" "$1" -d "$unpacked" || fail "$1 was not unpacked; its password is the one that Blizzard's licence \
names, given as --secret id=sc2_password,src=FILE"
    [ -d "$unpacked/StarCraftII" ] || fail "$1 holds no folder StarCraftII; it is no archive of the game for Linux"
    cp -a "$unpacked/StarCraftII/." "$out"
    rm -r "$unpacked"
fi

mkdir -p "$out/Maps/SMAC_Maps"
for archive in "$game"/*Maps*.zip; do
    if [ -f "$archive" ]; then
        unpacked=$(mktemp -d)
        unzip -q "$archive" -d "$unpacked" || fail "$archive was not unpacked; get it anew (docs/starcraft.md)"
        find "$unpacked" -name '*.SC2Map' -exec cp {} "$out/Maps/SMAC_Maps/" \;
        rm -r "$unpacked"
    fi
done
set -- "$out"/Maps/SMAC_Maps/*.SC2Map
[ -f "$1" ] || fail "there are no maps: $game holds no archive *Maps*.zip, and no StarCraftII/Maps/SMAC_Maps (docs/starcraft.md)"
set -- "$out"/Versions/Base*/SC2_x64
[ -f "$1" ] || fail "there is no Versions/Base*/SC2_x64, so this is no installation of StarCraft II for Linux"
chmod +x "$@"

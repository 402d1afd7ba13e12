#!/usr/bin/env bash
# backup.sh URL FOLDER: writes a backup of the server's database into FOLDER, checks it, and prints its name.
# URL is the one that the server got by --db; it may go on running. PostgreSQL's password comes from PGPASSWORD or ~/.pgpass.
set -euo pipefail
umask 077

if [ $# -ne 2 ]; then
  echo "usage: backup.sh URL FOLDER (such as: backup.sh sqlite:////var/lib/recsys/recsys.db /var/backups/recsys)" >&2
  exit 2
fi
url=$1 folder=$2
mkdir -p -- "$folder"
stem="$folder/recsys-$(date -u +%Y%m%dT%H%M%SZ)"

case $url in
  sqlite:///*)
    file=${url#sqlite:///}
    [ -f "$file" ] || { echo "there is no file $file" >&2; exit 1; }
    case $stem in *"'"*) echo "FOLDER must not contain a quote" >&2; exit 2 ;; esac
    out="$stem.db"
    trap 'rm -f -- "$out.part"' EXIT
    sqlite3 -bail "$file" ".timeout 10000" ".backup '$out.part'"
    [ "$(sqlite3 "$out.part" 'PRAGMA integrity_check')" = ok ] || { echo "the copy of $file is damaged" >&2; exit 1; }
    ;;
  postgresql://* | postgresql+psycopg://*)
    out="$stem.dump"
    trap 'rm -f -- "$out.part"' EXIT
    pg_dump --format=custom --no-owner --no-privileges --file="$out.part" --dbname="${url/+psycopg/}"
    pg_restore --list "$out.part" >/dev/null
    ;;
  *)
    echo "URL must begin with sqlite:/// or postgresql://" >&2
    exit 2
    ;;
esac
sync -- "$out.part"
mv -- "$out.part" "$out"
echo "$out"

#!/usr/bin/env bash
# restore.sh URL FILE: puts a backup in the place of the server's database. Stop every server that uses it first.
# The file of SQLite that was there is kept beside it, as NAME.before-restore.
set -euo pipefail
umask 077

if [ $# -ne 2 ]; then
  echo "usage: restore.sh URL FILE (such as: restore.sh sqlite:////var/lib/recsys/recsys.db recsys-20260131T030000Z.db)" >&2
  exit 2
fi
url=$1 backup=$2
[ -f "$backup" ] || { echo "there is no file $backup" >&2; exit 1; }

case $url in
  sqlite:///*)
    file=${url#sqlite:///}
    [ "$(sqlite3 "$backup" 'PRAGMA integrity_check' 2>&1)" = ok ] || { echo "$backup is no sound database of SQLite" >&2; exit 1; }
    mkdir -p -- "$(dirname -- "$file")"
    cp -- "$backup" "$file.part"
    sync -- "$file.part"
    if [ -f "$file" ]; then
      # SQLite leaves its write-ahead log only where nobody else has the file open
      if [ "$(sqlite3 "$file" 'PRAGMA journal_mode = DELETE' 2>/dev/null)" != delete ]; then
        rm -f -- "$file.part"
        echo "a process has $file open, or it is damaged: stop every server; if it is damaged, move it away" >&2
        exit 1
      fi
      mv -- "$file" "$file.before-restore"
    fi
    rm -f -- "$file-wal" "$file-shm"
    mv -- "$file.part" "$file"
    ;;
  postgresql://* | postgresql+psycopg://*)
    pg_restore --clean --if-exists --no-owner --no-privileges --single-transaction --exit-on-error \
      --dbname="${url/+psycopg/}" "$backup"
    ;;
  *)
    echo "URL must begin with sqlite:/// or postgresql://" >&2
    exit 2
    ;;
esac
echo "restored from $backup"

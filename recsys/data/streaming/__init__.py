"""From files to a store in bounded memory: pieces of files, ids merged piece by piece, events sorted in buckets on disk."""

from recsys.data.streaming.build import stream_log as stream_log

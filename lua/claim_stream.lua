-- A shard's owner begins to read its stream: it gets a consumer group of its own, in place of the former owner's,
-- whose reads fail from then on. A stream that nobody has read yet is read from its first entry.
--
-- KEYS:
--   stream  imc:{S}:in or imc:{S}:out  stream
--   lease   imc:{S}:lease:ROLE         string
--
-- ARGV:
--   process_id  who reads
--
-- Returns:
--   (id)  the last entry that was handed out, to whomever; 0-0 if none was
--   lost  the lease is another's: nothing changed
local stream, lease = unpack(KEYS)
local process_id = ARGV[1]
redis.call("XLEN", stream) -- is a stream
local holder = redis.call("GET", lease)
if holder and holder ~= process_id then
    return "lost"
end
--- @include "last_read"

local read, group, entries_read = last_read(stream)
local ours = "imc@" .. process_id
if group ~= ours then
    redis.call("PERSIST", stream) -- a write that a full Redis takes, after which it takes the next ones, too
    if tonumber(entries_read) then
        redis.call("XGROUP", "CREATE", stream, ours, read, "ENTRIESREAD", entries_read)
    else
        redis.call("XGROUP", "CREATE", stream, ours, read or "0", "MKSTREAM")
    end
    if group then
        redis.call("XGROUP", "DESTROY", stream, group)
    end
end
return read or "0-0"

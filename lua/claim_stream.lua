-- A shard's new owner claims its stream: it gets a consumer group of its own. The former owner's group is deleted,
-- so that its reads fail from now on. A stream that was never read is read from its first entry.
--
-- KEYS:
--   stream  imc:{S}:in or imc:{S}:out  stream
--   lease   imc:{S}:lease:ROLE         string
--
-- ARGV:
--   process_id  the owner
--
-- Returns:
--   (id)  the last entry that was read by any owner, 0-0 if none was
--   lost  another process holds the lease: nothing changed
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
    redis.call("PERSIST", stream) -- the first write: works when memory is full, and then the others do
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

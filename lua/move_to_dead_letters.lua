-- An entry that cannot be handled is moved to the dead letters, with its stream, the reason and the time.
--
-- KEYS:
--   stream  imc:{S}:in or imc:{S}:out  stream
--   dead    imc:{S}:dead               stream
--
-- ARGV:
--   entry_id  the entry's id in stream
--   reason    why it could not be handled
--   at_ms     when, ms since the epoch
--
-- Returns:
--   done  the entry is in dead, its own fields after dead_stream, dead_entry, dead_reason, dead_at
--   gone  it is not in the stream: nothing changed
local stream, dead = unpack(KEYS)
local entry_id, reason, at_ms = unpack(ARGV)
assert(reason and at_ms, "a dead letter says why and when")
redis.call("XLEN", dead) -- is a stream
local entry = redis.call("XRANGE", stream, entry_id, entry_id)[1]
if not entry then
    return "gone"
end

redis.call("XDEL", stream, entry_id)
local about = { "dead_stream", stream, "dead_entry", entry_id, "dead_reason", reason, "dead_at", at_ms }
for _, part in ipairs(entry[2]) do
    about[#about + 1] = part
end
redis.call("XADD", dead, "*", unpack(about))
return "done"

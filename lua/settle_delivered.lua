-- Events whose recipients have all responded with 2xx are deleted, many at once.
--
-- KEYS:
--   events  imc:{S}:out  stream
--
-- ARGV:
--   ...  ids of the events
--
-- Returns:
--   (number)  how many of them existed
local events = KEYS[1]
local entries = ARGV
local deleted = 0
for first = 1, #entries, 1000 do -- unpack has a limit
    local last = math.min(first + 999, #entries)
    deleted = deleted + redis.call("XDEL", events, unpack(entries, first, last))
end
return deleted

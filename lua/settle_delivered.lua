-- Events whose recipients have all answered 2xx go, many at once.
--
-- KEYS:
--   events  imc:{S}:out  stream
--
-- ARGV:
--   ...  ids of the events
--
-- Returns:
--   (number)  how many were still there
local events = KEYS[1]
local entries = ARGV
local deleted = 0
for first = 1, #entries, 1000 do -- unpack has a limit
    local last = math.min(first + 999, #entries)
    deleted = deleted + redis.call("XDEL", events, unpack(entries, first, last))
end
return deleted

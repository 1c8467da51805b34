-- A dead letter is moved back to the end of its stream, to be handled again.
--
-- KEYS:
--   dead    imc:{S}:dead               stream
--   stream  imc:{S}:in or imc:{S}:out  stream
--
-- ARGV:
--   dead_id  the dead letter's id in dead
--
-- Returns:
--   done  it is in stream again, without its dead_ fields
--   gone  it is not in dead: nothing changed
local dead, stream = unpack(KEYS)
local dead_id = unpack(ARGV)
redis.call("XLEN", stream) -- is a stream
local letter = redis.call("XRANGE", dead, dead_id, dead_id)[1]
if not letter then
    return "gone"
end

local fields = {}
for i = 1, #letter[2], 2 do
    if letter[2][i]:sub(1, 5) ~= "dead_" then
        fields[#fields + 1] = letter[2][i]
        fields[#fields + 1] = letter[2][i + 1]
    end
end
redis.call("XDEL", dead, dead_id)
redis.call("XADD", stream, "*", unpack(fields))
return "done"

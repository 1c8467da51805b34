-- Plain messages that follow one another in a shard, as broadcast_message would handle each: those at the head
-- of the stream, up to the first that takes more than telling the other members. That one, and all behind it,
-- are left to broadcast_message. Many in one script cost Redis half as much.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--   ...       imc_members:{S}:ROOM  hash  of each request
--
-- ARGV:
--   delivery_chunk  recipients per event entry, at most
--   most            recipients after which no further message is begun
--   ...             the requests' ids, in their order
--
-- Returns:
--   (number)  how many of the requests, from the first on, had their effect
--
-- Events:
--   message  to all members but the sender
local requests, events = unpack(KEYS)
local members = { unpack(KEYS, 3) }
local delivery_chunk, most = unpack(ARGV)
local entries = { unpack(ARGV, 3) }
most = tonumber(most)
local request
--- @include "emit"
--- @include "recipients"

-- Looks at all of them before it writes anything. XTRIM then takes them from the head at once, and comes first: it
-- frees memory, so a full Redis takes it, and after it refuses no other.
local heard, told = {}, 0
for i, entry in ipairs(redis.call("XRANGE", requests, "-", "+", "COUNT", #entries)) do
    request = {}
    for at = 1, #entry[2], 2 do
        request[entry[2][at]] = entry[2][at + 1]
    end
    local is_plain = request.type == "message" and request.from and request.room and not request.operator
    if entry[1] ~= entries[i] or not is_plain or request.from == request.room or told >= most then
        break
    elseif not is_member(members[i], request.from) then
        break
    end
    local others, n = others_of(members[i], request.from)
    heard[i], told = { message = request, to = others }, told + n
end
redis.call("XTRIM", requests, "MAXLEN", "=", redis.call("XLEN", requests) - #heard)
for _, one in ipairs(heard) do
    request = one.message
    emit("message", one.to)
end
return #heard

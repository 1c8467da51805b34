-- Plain messages that follow one another in a shard, as broadcast_message would handle each: those at the head
-- of the stream, up to the first that takes more than telling the other members. That one, and all behind it,
-- are left to broadcast_message. Many in one script cost Redis half as much.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--   ...       imc_members:{S}:ROOM   hash    of each request, and
--   ...       imc:{S}:caused:SENDER  string  of each
--
-- ARGV:
--   delivery_chunk  recipients per event entry, at most
--   max_caused      deliveries after which a sender's next message has to wait, 0 none
--   window_ms       for how long they count
--   small           so many others are too few to be counted
--   most            recipients after which no further message is begun
--   ...             the requests' ids, in their order
--
-- Returns:
--   (number)  how many of the requests, from the first on, had their effect
--
-- Events:
--   message  to all members but the sender
local requests, events = unpack(KEYS)
local members_and_caused = { unpack(KEYS, 3) }
local delivery_chunk, max_caused, window_ms, small, most = unpack(ARGV)
local entries = { unpack(ARGV, 6) }
max_caused, window_ms = tonumber(max_caused), math.max(1, tonumber(window_ms))
small, most = tonumber(small), tonumber(most)
local request
--- @include "emit"
--- @include "recipients"

local done, told = 0, 0
for i, entry in ipairs(redis.call("XRANGE", requests, "-", "+", "COUNT", #entries)) do
    request = {}
    for at = 1, #entry[2], 2 do
        request[entry[2][at]] = entry[2][at + 1]
    end
    local is_plain = request.type == "message" and request.from and request.room and not request.operator
    if entry[1] ~= entries[i] or not is_plain or request.from == request.room or told >= most then
        break
    end
    local members, caused = members_and_caused[2 * i - 1], members_and_caused[2 * i]
    local others, n, speaks = recipients_of(members, request.from)
    local counts = max_caused > 0 and n > small
    local so_far = counts and tonumber(redis.call("GET", caused) or 0) or 0
    assert(so_far % 1 == 0, "deliveries are counted in whole numbers")
    if not speaks or so_far < 0 or (counts and so_far >= max_caused) then
        break
    end
    redis.call("XDEL", requests, entry[1])
    if counts and redis.call("INCRBY", caused, n) == n then
        redis.call("PEXPIRE", caused, window_ms)
    end
    emit("message", others)
    done, told = i, told + n
end
return done

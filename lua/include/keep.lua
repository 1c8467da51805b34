-- The history of a room: a stream with the messages that the room keeps, each under the id of its event. An entry is
-- sender and data, then "nick" and the nickname, if there is one, and "device" and the sending device, if the request names
-- one. The sender is the name of a field, because one more field would cost every message 0.3 us. A message that expires
-- also stands in imc:{S}:expiring:ROOM, a sorted set, until the history is trimmed after that time. Needs events,
-- history_max, request. Gives keep.

--- @include "place_now"
local ZERO = ("0"):byte()

-- Redis refuses an id that is not the greatest of its stream, as after the out-stream was deleted while the clock was
-- set back: then the entry gets another one. After a script's first write no error may end it.
local function append(history, id, nick)
    if request.device then
        local further = nick and { "nick", nick } or {}
        return redis.pcall("XADD", history, id, request.from, request.data or "", "device", request.device, unpack(further))
    end
    if nick then
        return redis.pcall("XADD", history, id, request.from, request.data or "", "nick", nick)
    end
    return redis.pcall("XADD", history, id, request.from, request.data or "")
end

-- After commit. Keeps the message whose event has this id, nil if it has none. Trimming with every message would cost
-- 2 us: one in a hundred does it, by the last digits of its time.
local function keep(history, id, nick)
    id = id or place_now() -- it goes to nobody now
    if append(history, id, nick) ~= id then
        id = append(history, "*", nick)
    end
    if type(id) ~= "string" then -- the history has another type
        return
    end
    if request.kept_ms then
        local ends = tonumber(id:match("^%d+")) + tonumber(request.kept_ms)
        redis.pcall("ZADD", "imc:" .. events:match("{%d+}") .. ":expiring:" .. request.room, ends, id)
    end
    local tens, ones = id:byte(-4, -3) -- a text of both would have to be made and collected
    if tens == ZERO and ones == ZERO then
        redis.pcall("XTRIM", history, "MAXLEN", "~", history_max)
    end
end

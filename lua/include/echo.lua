-- Programs that answer every message without saying so (RFC 3834 §5 has Auto-Submitted for it): two of them in a room would
-- answer each other for ever. One is recognised by its answers: equal texts, MIN_ECHOES in a row, each within ECHO_MS of a
-- message of somebody else, and as many as others have sent until ECHO_MS ago: each of these has its answer. A person who
-- writes fast does not do all of this. Needs request, entry_id, commit, room, members, history, role_of, emit. Gives
-- is_echo.
-- Events of this include: `muted`, to the sender.
local MIN_ECHOES, ECHO_MS, MAX_LOOKED_AT, MAX_TEXT = 16, 1000, 200, 200

-- Equal for two requests with equal type and body: the part of data before its other values, or its begin.
local function text_of(data)
    local text = data:sub(1, (data:find("\162mf", 1, true) or 0) - 1)
    return #text .. ":" .. text:sub(1, MAX_TEXT)
end

-- Messages since this id: how many of others should have their answer by now, how many are of the sender, and whether
-- one of others came just now. A history of a wrong type has none: no error of it may delay a message.
local function said_since(start)
    local due, own, is_answer, now = 0, 0, false, tonumber(entry_id:match("^%d+"))
    for _, entry in ipairs(redis.pcall("XRANGE", history, "(" .. start, "+", "COUNT", MAX_LOOKED_AT)) do
        if entry[2][1] == request.from then
            own = own + 1
        elseif now - tonumber(entry[1]:match("^%d+")) > ECHO_MS then
            due = due + 1
        else
            is_answer = true
        end
    end
    return due, own, is_answer
end

-- With commit. Handles a text that its sender has sent just before, or any of a sender who is muted; `value` is the
-- sender's field of the members. Whether nobody gets the message. Another text ends the muting.
local function is_echo(value)
    local echo, muted = "echo:" .. request.from, "muted:" .. request.from
    local away, text = value:match(" away$") or "", text_of(request.data or "")
    if value:find(" muted", 1, true) then
        local is_same = redis.call("HGET", room, muted) == text
        commit()
        if not is_same then
            redis.call("HDEL", room, muted)
            redis.call("HSET", members, request.from, role_of(value) .. away)
        end
        return is_same
    end
    local count, start, last = (redis.call("HGET", room, echo) or ""):match("^(%d+) (%S+) (.*)$")
    local due, own, is_answer = said_since(start or entry_id)
    count = tonumber(count or 0)
    -- No other text in between; the first of these may stand in the same millisecond as its request.
    local is_next = last == text and is_answer and due <= count + 1 and (own == count or own == count - 1)
    count, start = is_next and count + 1 or 1, is_next and start or entry_id
    local is_program = count >= MIN_ECHOES
    commit()
    if not is_program then
        redis.call("HSET", room, echo, count .. " " .. start .. " " .. text)
        return false
    end
    redis.call("HDEL", room, echo)
    redis.call("HSET", room, muted, text)
    redis.call("HSET", members, request.from, role_of(value) .. " muted" .. away)
    emit("muted", { request.from })
    return true
end

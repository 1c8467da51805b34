-- What a member who is away has missed: the history from its position on, without its own messages and those that have
-- expired. A device gets what other devices of its user have sent. Needs request and what emit gives. Gives is_for,
-- missed, client_of, send_missed, and what device_name gives.
-- Events of this include: `message` to one member; history_id: its id in the history, nick: the sender's, if it was shown;
-- client: what is known of the member's client, if anything.
--- @include "device_name"

-- The data of a request is a MessagePack map with the key "exp" and a 64-bit number of ms since the epoch, if the message
-- expires (imc_common/rooms/request.py). Redis's cmsgpack cannot read it, because it has binary values. Only the sender
-- can write the same bytes elsewhere, for its own message.
local function has_expired(data, now)
    local bytes = data:find("\163exp\207", 1, true) and data:match(".*\163exp\207(........)")
    local expires_at = 0
    for i = 1, bytes and 8 or 0 do
        expires_at = expires_at * 256 + bytes:byte(i)
    end
    return bytes and expires_at <= now
end

-- What is behind sender and data, by name.
local function further_of(fields)
    local further = {}
    for i = 3, #fields, 2 do
        further[fields[i]] = fields[i + 1]
    end
    return further
end

-- Whether the fields of an entry are a message for this user; any user, if it is false.
local function is_for(user, fields, now)
    local is_own = user and (fields[1] == user or further_of(fields).device == without_aor(user))
    return not is_own and not has_expired(fields[2], now)
end

-- At most `count` messages, each {id, author, data, nickname}, up to `last` if it is given; and the id of the next one, nil
-- if nothing is left.
local function missed(history, position, user, count, now, last)
    local found, start = {}, position
    while true do
        local page = redis.call("XRANGE", history, start, last or "+", "COUNT", count + 1)
        for _, entry in ipairs(page) do
            local id, fields = entry[1], entry[2]
            local is_next = is_for(user, fields, now)
            if is_next and #found == count then
                return found, id
            elseif is_next then
                found[#found + 1] = { id, fields[1], fields[2], further_of(fields).nick }
            end
            start = "(" .. id
        end
        if #page <= count then
            return found, nil
        end
    end
end

-- The field that names the kind of client of a member or device with this value, if it is known.
local function client_of(user, value)
    local client = is_device(user) and "device" or value:gsub(" away$", ""):match(" (%a+)$")
    return client and { "client", client } or {}
end

-- After the first write. Sends such a message again; `value` is the user's field of the members, ... are further fields.
-- Returns the id of the event.
local function send_missed(message, address, user, value, ...)
    local history_id, author, data, nick = unpack(message, 1, 4)
    local further, client = { ... }, client_of(user, value)
    further[#further + 1], further[#further + 2] = client[1], client[2]
    if nick then
        further[#further + 1], further[#further + 2] = "nick", nick
    end
    request = { room = address, from = author, data = data }
    return emit("message", { user }, "history_id", history_id, unpack(further))
end

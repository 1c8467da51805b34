-- A disposition notification (RFC 5438), a receipt to its users, goes to the author of the message that it is about, and
-- to nobody else. It is never kept and never refused: if the author is not known, not here or no longer a member, it is
-- discarded. So is one that another device of the same member has sent before. In the request, `message_id` has message and
-- position in turn, and `detail` how each was received.
--
-- KEYS:
--   requests         imc:{S}:in                    stream
--   events           imc:{S}:out                   stream
--   rooms            imc_rooms:{S}                 sorted set
--   room             imc_rooms:{S}:ROOM            hash
--   members          imc_members:{S}:ROOM          hash
--   recent_authors   imc:{S}:authors:ROOM:recent   hash
--   older_authors    imc:{S}:authors:ROOM:older    hash
--   history          imc_history:{S}:ROOM          stream
--   recent_receipts  imc:{S}:receipts:ROOM:recent  hash
--   older_receipts   imc:{S}:receipts:ROOM:older   hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   disposition  to each author, or the author's devices; list: the ids of the author's messages; client: the kind of the
--                client, if it is known; about: the message's data, if list has the id of a delivery
local requests, events, rooms, room, members, recent_authors, older_authors, history, recent_receipts, older_receipts = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "may_speak"
--- @include "other_devices"
--- @include "device_name"
--- @include "authors"
--- @include "client"
--- @include "receipts"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room) -- is a hash
redis.call("HLEN", recent_authors)
redis.call("HLEN", older_authors)
redis.call("XLEN", history)
redis.call("HLEN", recent_receipts)
redis.call("HLEN", older_receipts)

-- The message is kept if the notification names a delivery of it, and the author is the first field of its entry.
local function author_and_data(message_id, position)
    if position == "-" then
        return author_of(recent_authors, older_authors, message_id)
    end
    local entry = redis.call("XRANGE", history, position, position)[1]
    if entry then
        return entry[2][1], entry[2][2]
    end
end

-- Who gets what goes to this author: the author, or those of its devices that are here.
local function recipients(author, client)
    local found = client == "devices" and (other_devices(devices_of(request.room), {})) or {}
    local own = {}
    for _, device in ipairs(found) do
        own[#own + 1] = user_of(device) == author and device or nil
    end
    return client == "devices" and own or { author }
end

-- Whether the sender has several devices in the room.
local function has_several(client)
    local count, start = 0, request.from .. ";gr="
    for _, device in ipairs(client == "devices" and redis.call("HKEYS", devices_of(request.room)) or {}) do
        count = count + (device:sub(1, #start) == start and 1 or 0)
    end
    return count > 1
end

local found, of, told = {}, {}, {}
local value = redis.call("HGET", members, request.from)
if is_member(value) then
    local has_others, status_of = has_several(HERE[value]), (request.detail or ""):gmatch("%S+")
    for message_id, position in (request.message_id or ""):gmatch("(%S+) (%S+)") do
        local author, data = author_and_data(message_id, position)
        local client = author and author ~= request.from and HERE[redis.call("HGET", members, author)]
        local message, status = position == "-" and message_id or position, status_of() or ""
        local is_new = client and not (has_others and is_told(request.from, message, status))
        if is_new and has_others then
            told[#told + 1] = { message, status }
        end
        if is_new and not data and of[author] then
            of[author].list = of[author].list .. " " .. message_id
        elseif is_new then
            found[#found + 1] = { to = recipients(author, client), client = client, list = message_id, about = data }
            of[author] = not data and found[#found] or of[author]
        end
    end
end
commit()
note_cpim(members, request, value)
for _, each in ipairs(told) do
    remember_told(request.from, each[1], each[2])
end
for _, one in ipairs(found) do
    local further = { "list", one.list }
    if one.client ~= true then
        further[3], further[4] = "client", one.client == "devices" and "device" or one.client
    end
    if one.about then
        further[#further + 1], further[#further + 2] = "about", one.about
    end
    emit("disposition", one.to, unpack(further))
end
return "done"

-- The kind of client that a member uses in a room: "cpim" for one that has sent message/cpim, "text" for one that has
-- refused it. The latter stays, also if it sends message/cpim: in a chat that is no conference, Linphone sends it, and
-- refuses it from others, since From inside is not the room. It stands behind the role, so that a broadcast need not read
-- more than the members. Needs what may_speak gives. Gives note_client, note_cpim.

-- After commit. Returns the user's new value.
local function note_client(members, user, value, client)
    local role, away = value:match("^%a+"), value:match(" away$") or ""
    value = role .. " " .. client .. away
    redis.call("HSET", members, user, value)
    return value
end

-- After commit. The same for the sender of a receipt or typing notification in message/cpim.
local function note_cpim(members, request, value)
    if request.cpim and HERE[value] == true then
        note_client(members, request.from, value, "cpim")
    end
end

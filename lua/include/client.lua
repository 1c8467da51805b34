-- The kind of client that a member uses in a room: "cpim" for one that has sent message/cpim, "text" for one that has
-- refused it. It stands behind the role, so that a broadcast need not read more than the members. Gives note_client.

-- After commit. Returns the user's new value.
local function note_client(members, user, value, client)
    local role, away = value:match("^%a+"), value:match(" away$") or ""
    value = role .. " " .. client .. away
    redis.call("HSET", members, user, value)
    return value
end

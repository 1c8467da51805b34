-- The sender makes the room and owns it. Needs rooms, room, members, owned_rooms, private_rooms, request,
-- owns_enough, refuse, commit, emit.
local function found()
    if owns_enough then
        return refuse("too_many_rooms")
    end
    local hidden = request.private == "1"
    commit()
    redis.call("HSET", room, "private", hidden and "1" or "0", "owner", request.from, "created_at", request.at or "0")
    redis.call("HSET", members, request.from, "owner")
    redis.call("ZADD", rooms, hidden and "1" or "0", request.room)
    redis.call("SADD", owned_rooms, request.room)
    if hidden then
        redis.call("SADD", private_rooms, request.room)
    end
    emit("created", { request.from }, "detail", hidden and "private" or "public")
    return "done"
end

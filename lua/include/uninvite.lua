-- The sender's own invitation goes. Needs room, members, request, with_role, commit, emit.
local function uninvite()
    commit()
    redis.call("HDEL", members, request.from)
    redis.call("HDEL", room, "invitation:" .. request.from)
    emit("denied", with_role(IN_CHARGE))
    return "done"
end

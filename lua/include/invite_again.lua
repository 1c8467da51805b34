-- An invitation that found nobody there is sent again. Needs request and emit. Gives invite_again.

-- After commit. The new event counts from now on: if it fails for good, the invitation is withdrawn.
local function invite_again(room, address, user, inviter)
    request = { room = address, from = inviter }
    redis.call("HSET", room, "invitation:" .. user, emit("invited", { user }, "user", user))
end

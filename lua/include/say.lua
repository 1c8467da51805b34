-- A plain message goes to its recipients. Needs request and emit. Gives say.
-- Events of this include: `message`; nick: the sender's nickname, if there is one and it is shown; history_id: "-" if the
-- room keeps messages and not this one.

-- After commit. `is_unkept`: the room keeps messages and not this one. Returns the id of the event, nil without
-- recipients.
local function say(to, nick, is_unkept)
    if not nick and not is_unkept then
        return emit("message", to)
    end
    local further = nick and { "nick", nick } or {}
    if is_unkept then
        request.is_unkept = true
        further[#further + 1], further[#further + 2] = "history_id", "-"
    end
    return emit("message", to, unpack(further))
end

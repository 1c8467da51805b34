-- A plain message goes to its recipients. Needs request and emit. Gives say.
-- Events of this include: `message`; nick: the sender's nickname, if there is one and it is shown; history_id: "-" if the
-- room keeps messages and not this one; client: the kind of client of all recipients, if they need it in another form.

-- After commit. `is_unkept`: the room keeps messages and not this one. `apart`, if there are any, are recipients whose
-- client needs it in another form, and `devices` are devices. Returns the id of the event, nil without recipients.
local function say(to, nick, is_unkept, apart, devices)
    if not nick and not is_unkept and not apart and not devices then
        return emit("message", to)
    end
    local further = nick and { "nick", nick } or {}
    if is_unkept then
        request.is_unkept = true
        further[#further + 1], further[#further + 2] = "history_id", "-"
    end
    local id = emit("message", to, unpack(further))
    local place = #further + 2
    further[place - 1] = "client"
    for client, others in pairs({ [other_client(request)] = apart or {}, device = devices or {} }) do
        request.position, further[place] = id, client
        id = emit("message", others, unpack(further))
    end
    return id
end

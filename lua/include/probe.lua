-- What happens to one user whose probe is due. Needs what probe_users has. Gives plan, carry_out.
-- Events of this include: `idle` to the user, who has failed on the same message several times; catch_up: probe, since: the
-- id of that message, client: what is known of the member's client

--- @include "missed_invite"

-- After a wait as long, so after three failed probes with the message, every other probe is an `idle`: nobody sees it,
-- whoever is there takes or refuses it, and it costs no message its order. A wait that is odd was that of an `idle`.
local IDLE_FROM_MS = 16000

-- The message to probe with, of the room at `address`; nil if the user has missed none. `about` gets what the room keeps of
-- the user.
local function candidate(address, user, about)
    local room = room_prefix .. address
    about.members = is_device(user) and devices_of(address) or members_prefix .. address
    about.value = redis.call("HGET", about.members, user)
    about.position, about.leading, about.inviter = unpack(
        redis.call("HMGET", room, "away:" .. user, "returning:" .. user, "inviter:" .. user)
    )
    about.joined = later_of(unpack(redis.call("HMGET", room, "joined:" .. user_of(user), "ended:" .. user)))
    about.has_missed = is_device(user) and has_missed_notify(room, user)
    if not about.position or about.value == "invited" or is_inviting(about.value) or not is_away(about.value) or history_max == 0 then
        return nil
    end
    about.is_handed_out = about.leading and #redis.call("XRANGE", events, about.leading, about.leading) > 0
    about.is_old = is_before(about.position, oldest)
    local from = about.is_old and oldest or about.position
    return missed(history_prefix .. address, from, user, 1, now)[1]
end

-- Reads all rooms where the user is away, up to the first with a message to send, and those for which a device has missed an
-- INVITE; writes nothing.
local function plan(user)
    local made = { user = user, rooms = {}, wait = tonumber(redis.call("HGET", probe_waits, user) or 0) }
    made.farewells, made.has_farewells = farewells_due(user)
    local has_message = false
    for _, entry in ipairs(redis.call("SMEMBERS", away_rooms_prefix .. user)) do
        local about = { entry = entry }
        about.address, about.who = room_and_who(entry, user)
        about.missed_invite = missed_invite_at(room_prefix .. about.address, about.who)
        if about.missed_invite or not has_message then
            about.message = not about.missed_invite and candidate(about.address, about.who, about)
            made.rooms[#made.rooms + 1] = about
            has_message = has_message or (about.message and not about.is_handed_out)
        end
    end
    return made
end

-- After the first write. Whether the user was probed.
local function carry_out(made)
    local user, is_probed, stays, silent, invited = made.user, false, false, nil, {}
    away_rooms = away_rooms_prefix .. user
    local is_idle = made.wait >= IDLE_FROM_MS and made.wait % 2 == 0
    local wait = math.min(math.max(2 * (made.wait - made.wait % 2), 1000), max_wait_ms)
    for _, about in ipairs(made.rooms) do
        local address, who, message = about.address, about.who, about.message
        local room, members = room_prefix .. address, about.members
        if about.missed_invite and is_invited_later(about.missed_invite) then
            stays, invited[who] = true, invited[who] or {}
            table.insert(invited[who], address)
        elseif about.missed_invite then
            redis.call("HDEL", room, "missed_invite:" .. who)
            redis.call("SREM", away_rooms, about.entry)
        elseif about.is_handed_out or (about.is_old and not message) then
            -- what it missed is on its way, or too old to be sent: there is nothing to probe with
            stays = true
        elseif message then
            local since, joined = about.position, about.joined or ""
            if is_idle then
                wait = wait + 1
                request = { room = address, from = address }
                emit("idle", { who }, "catch_up", "probe", "since", message[1], unpack(client_of(who, about.value)))
            else
                send_missed(message, address, who, about.value, "catch_up", "probe", "wait", wait, "since", since,
                    "joined", joined)
            end
            is_probed, stays = true, true
        elseif about.position and about.value == "invited" then
            -- if nobody is there again, mark_away finds the wait as it is now
            end_away(room, members, address, who, about.value)
            invite_again(room, address, user, about.inviter or address)
            is_probed, stays = true, true
        elseif about.position and is_inviting(about.value) then
            if not is_under_way(room, who, about.value) then
                redis.call("HSET", members, who, (about.value:gsub(" away$", "")))
                send_invite(room, members, address, who, about.inviter or address)
                is_probed = true
            end
            stays = true
        elseif about.has_missed then -- a device that has missed a NOTIFY, and perhaps messages that are gone
            if about.position and is_away(about.value) then
                end_away(room, members, address, who, about.value, true)
                redis.call("SADD", away_rooms, about.entry)
            end
            stays, silent = true, silent or about
        elseif about.position and is_away(about.value) then -- the room keeps nothing of what it missed
            end_away(room, members, address, who, about.value, true)
        else -- has left the room
            redis.call("SREM", away_rooms, about.entry)
        end
    end
    stays = stays or made.has_farewells
    if made.farewells[1] and not is_probed then
        is_probed = say_farewell(made.farewells[1], "catch_up", "probe")
    end
    if silent and not is_probed then
        request = { room = silent.address, from = silent.address }
        notify_again(room_prefix .. silent.address, silent.address, silent.who, true)
        is_probed = true
    end
    for device, addresses in pairs(invited) do -- to any of these; the next one follows when it has accepted (let_in)
        invite_device_again(addresses[1 + jitter(#addresses)], device)
    end
    if stays or redis.call("SCARD", away_rooms) > 0 then
        redis.call("ZADD", probes, now + wait + jitter(wait / 4), user)
        redis.call("HSET", probe_waits, user, wait)
    else
        redis.call("HDEL", probe_waits, user)
    end
    return is_probed or next(invited) ~= nil
end

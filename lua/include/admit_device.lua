-- A device of a member gets what is said in the room from now on. Needs room, members, request, and what emit and role give.
-- Needs away_rooms and probes (of the user). Gives let_in, name_of, and what place_for gives.
--- @include "dismiss"
--- @include "place_for"
--- @include "away_rooms"
--- @include "now"
--- @include "call_back"
--- @include "farewells"
--- @include "invite"
--- @include "resume_subscription"
redis.call("HLEN", farewells_key(user_of(request.from))) -- is a hash

-- If what is asked for here gets lost, as with an edge's dead letters, a probe finds the device still away.
local NEXT_PROBE_MS = 60 * 1000

-- By which name a device that comes by itself is to be called. Its own INVITE, and its SUBSCRIBE to the list of its rooms, do not
-- say by which name the client keeps the room. A device that has missed the end of an earlier stay keeps its name of that time.
local function name_of(device)
    for _, farewell in ipairs(farewells_in(request.room, device)) do
        if farewell.device ~= device then
            return farewell.device
        end
    end
    return device
end

-- After commit. A client may subscribe before the room knows that it has accepted the INVITE, or go on with a subscription of
-- an earlier stay: such a subscription is under the name without ";aor", and no changes were noted for it. A NOTIFY of it may
-- have found nobody; the device is here now.
local function adopt_subscription(device)
    local early = without_aor(device)
    local subscription = subscription_of(early)
    if subscription then
        subscription.rev, subscription.missed = -1, nil
        redis.call("HDEL", room, "subscription:" .. early)
        keep_subscription(device, subscription)
    end
end

-- After commit. `value` is the user's field of the members, `position` from where on a new device has missed messages; nil:
-- nothing. A device that is in the room already keeps its place; a new one may take that of another, `replaced`. What a
-- device has missed is handed to it.
local function let_in(device, value, position, dialog, replaced)
    local user = user_of(device)
    local own, asked = unpack(redis.call("HMGET", room, "invitation:" .. without_aor(device), "invitation:" .. user))
    if dialog and own and own ~= request.of and is_pending(own) then
        -- it was written before this report came, and may be on its way: then the client ends this session (unknown_session)
        dialog = dialog:gsub("^{", '{"repeated":"' .. own .. '",')
    end
    if dialog and asked and asked ~= request.of and is_pending(asked) then
        dialog = with_reinvited(dialog, asked) -- it has entered by itself, and will be one of those that a proxy names, too
    end
    if replaced then
        dismiss_device(replaced)
        redis.call("HDEL", room, "unacknowledged:" .. without_aor(replaced))
        record_departure(without_aor(replaced))
    end
    redis.call("HSET", members, user, role_of(value) .. " devices")
    redis.call("HDEL", room, "away:" .. user, "returning:" .. user, "refused:" .. user, "inviter:" .. user,
        "sign:" .. user, "ended:" .. user, "left:" .. user, "invitation:" .. without_aor(device))
    redis.call("SREM", away_rooms, request.room)
    if dialog then
        redis.call("HSET", room, "dialog:" .. device, beside_former(dialog, redis.call("HGET", room, "dialog:" .. device)))
    end
    if redis.call("HSETNX", devices, device, position and "device away" or "device") == 1 then
        has_devices = true
        redis.call("HINCRBY", room, "unshown:" .. without_aor(device), 1)
        adopt_subscription(device)
        for _, farewell in ipairs(farewells_in(request.room, without_aor(device))) do
            resume_subscription(device, farewell.dialog)
        end
        record_arrival(without_aor(device))
        record(user)
        if position then
            redis.call("HSET", room, "away:" .. device, position)
            redis.call("SADD", away_rooms, away_room(request.room, device))
            redis.call("ZADD", probes, "NX", now + NEXT_PROBE_MS, user)
        end
    end
    drop_farewell(request.room, device)
    if redis.call("HDEL", room, "missed_invite:" .. without_aor(device)) == 1 then -- other rooms may wait (probe)
        redis.call("ZADD", probes, now, user)
    end
    if is_away(redis.call("HGET", devices, device)) then
        call_back(room, request.room, device, true)
    end
end

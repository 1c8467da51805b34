-- The devices of a user leave the room with the user. Needs what notify needs. Gives dismiss, dismiss_all, dismiss_device,
-- forget_device, forget_name, with_subscription, and what roster, notify, dialog and farewells give.
--- @include "roster"
--- @include "notify"
--- @include "dialog"
--- @include "farewells"

-- What the room keeps of a device that has left.
local OF_A_DEVICE = { "dialog", "away", "returning", "sign", "ended", "more", "refused" }

local function forget_device(device)
    local subscription = subscription_of(device)
    if subscription then
        end_subscription(device, subscription)
    end
    redis.call("HDEL", devices, device)
    for _, kind in ipairs(OF_A_DEVICE) do
        redis.call("HDEL", room, kind .. ":" .. device)
    end
end

-- After commit. A device that was invited by its user's address will know the room by its own name. It may go on with its
-- subscription (admit_device).
local function forget_name(device)
    local name, subscription = without_aor(device), subscription_of(device)
    forget_device(device)
    record_departure(name)
    if subscription then
        keep_subscription(name, subscription)
    end
end

-- The dialog of the request that a device has sent: BYE, which ends it.
local function is_own(device, dialog)
    if request.device and without_aor(device) == request.device then
        return true
    end
    return same_dialog(dialog_ids(request.dialog), dialog_ids(dialog))
end

-- The dialog of a BYE, with the subscription that ends beside it: a device that has missed the end of both goes on with that
-- subscription when it is invited anew (admit_device).
local function with_subscription(dialog, subscription)
    if not subscription or subscription.expires_at <= now then
        return dialog
    end
    local kept = { dialog = subscription.dialog, expires_at = subscription.expires_at, lift = subscription.lift }
    return dialog:match("^(.*)}%s*$") .. ',"subscription":' .. cjson.encode(cjson.encode(kept)) .. "}"
end

-- After commit. A subscriber gets a last NOTIFY, which says that its user has left, and then a BYE.
local function dismiss_device(device)
    local subscription = subscription_of(device)
    if subscription then
        notify_of_end(device, subscription)
        end_subscription(device, subscription)
    end
    local dialog = redis.call("HGET", room, "dialog:" .. device)
    -- It may have come by SUBSCRIBE, and show the room all the same.
    dialog = dialog or subscription and unknown_dialog(subscription.dialog)
    if dialog and not (request.dialog and is_own(device, dialog)) then
        end_dialog(device, with_subscription(dialog, subscription))
    end
    forget_device(device)
end

-- The devices of a user, or of all users.
local function devices_in_room(user)
    local found = {}
    for _, device in ipairs(has_devices and redis.call("HKEYS", devices) or {}) do
        found[#found + 1] = (not user or user_of(device) == user) and device or nil
    end
    table.sort(found)
    return found
end

-- After commit, before the user's role goes; `stays` if it does not. Returns whether the user had devices.
local function dismiss(user, stays)
    if not is_member(redis.call("HGET", members, user)) then
        return false
    end
    local found, has_entered = devices_in_room(user), {}
    for _, device in ipairs(found) do
        has_entered[without_aor(device)] = true
        dismiss_device(device)
        record_departure(without_aor(device)) -- the user may be back before the others hear of it
    end
    -- Of devices that have subscribed and not entered: they show the room, but the room knows no session of theirs.
    for _, device in ipairs(has_devices and with_field("subscription", user) or {}) do
        local subscription = subscription_of(device)
        if not has_entered[without_aor(device)] then
            local name = (dialog_ids(subscription.dialog) or {}).remote_uri or ""
            notify_of_end(device, subscription)
            name = name:find(";gr=", 1, true) and device or device .. ";aor"
            end_dialog(name, with_subscription(unknown_dialog(subscription.dialog), subscription))
        end
        end_subscription(device, subscription)
    end
    -- of those that were invited and have not accepted, or have got no ACK or no roster
    for _, kind in ipairs({ "invitation", "missed_invite", "unacknowledged", "unshown" }) do
        for _, device in ipairs(with_field(kind, user)) do
            redis.call("HDEL", room, kind .. ":" .. device)
        end
    end
    -- of those that show the room since an earlier stay
    for _, farewell in ipairs(farewells_in(request.room, user)) do
        drop_farewell(request.room, farewell.device)
        end_dialog(farewell.device, farewell.dialog)
    end
    if not stays then
        record_departure(user)
    end
    return #found > 0
end

-- The same for all devices of a room that ends.
local function dismiss_all()
    for _, device in ipairs(devices_in_room()) do
        dismiss_device(device)
    end
end

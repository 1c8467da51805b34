-- The devices that get what a sender says. Gives other_devices, and what device gives.
--- @include "device"

-- The devices in the room that are not away, but for the one that has sent this request; nil if there are none. Returns as
-- well the sending device if it is away. A device that was invited by its user's address does not name itself: then all devices
-- of the user get the message, for another one of them may have sent it, which is not in the room yet. The sending one
-- drops it by its Message-ID.
local function other_devices(devices, request)
    local found, away, all = {}, nil, redis.call("HGETALL", devices)
    local own = request.device
    for i = 1, #all, 2 do
        if own and (all[i] == own or all[i] == own .. ";aor") then
            away = all[i + 1] ~= "device" and all[i]
        elseif all[i + 1] == "device" then
            found[#found + 1] = all[i]
        end
    end
    return #found > 0 and found or nil, away
end

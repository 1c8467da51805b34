-- A user whose data an operator has deleted (imc_worker/mi/shard_records.py): what is on its way to the user then leaves no
-- record. Needs events. Gives is_forgotten, and what device_name gives.
--- @include "device_name"

local function is_forgotten(address)
    return redis.call("EXISTS", "imc:" .. events:match("{%d+}") .. ":forgotten:" .. user_of(address)) == 1
end

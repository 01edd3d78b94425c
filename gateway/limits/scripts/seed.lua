-- Builds counters from what the ledger says, where they are missing or were kept by an earlier life of the store.
-- KEYS: holds, expiries, then the counters of each scope.
-- ARGV: life, nonce of the new epoch, window, then cost and requests of each scope.

local holds, expiries = KEYS[1], KEYS[2]
local life, window = ARGV[1], ARGV[3]
local epoch = life .. '.' .. ARGV[2]

-- Holds that survived are still in flight: what they hold is found again from their rows.
local function open_holds()
  local running, held, granted = {}, {}, {}
  for _, packed in ipairs(redis.call('HVALS', holds)) do
    local row = packed ~= '' and cmsgpack.unpack(packed)
    if row and row.is_held then
      for _, scope in ipairs(row.scopes) do
        local key = scope[1]
        running[key] = (running[key] or 0) + 1
        if row.window == window then
          held[key] = (held[key] or 0) + row.amount
          granted[key] = (granted[key] or 0) + 1
        end
      end
    end
  end
  return running, held, granted
end

local running, held, granted = open_holds()
keep_rows(holds, expiries)
for i = 3, #KEYS do
  local key = KEYS[i]
  local c = read_counters(key)
  if not is_of_life(c, life) and not (c and c.window > window) then
    local built = {
      key = key,
      epoch = epoch,
      window = window,
      settled = tonumber(ARGV[2 * i - 2]),
      requests = tonumber(ARGV[2 * i - 1]) + (granted[key] or 0),
      held = held[key] or 0,
      running = running[key] or 0,
    }
    if c and c.window == window then -- Ledger and counters may each lag: neither can be above the truth.
      built.settled = math.max(built.settled, c.settled)
      built.requests = math.max(built.requests, c.requests)
    end
    open_counters(built)
  end
end
return 'OK'

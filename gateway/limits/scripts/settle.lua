-- Releases a hold and charges what the request cost, once, however often it is called.
-- KEYS: holds, expiries, then the counters to charge if the hold was lost with the store, the tenant's first.
-- ARGV: life, now or '', the settlement in MessagePack.
-- Gives: OK | LATE (the hold had lapsed) | LOST (the counters were rebuilt since) | DUP | NOSTATE

local holds, expiries = KEYS[1], KEYS[2]
local now, settlement = clock(ARGV[2]), cmsgpack.unpack(ARGV[3])
local id, cost, counts, is_posted = settlement.request_id, settlement.cost, settlement.counts, settlement.is_posted
local DONE = { is_held = false, is_done = true }

local function correct_rates(row)
  local tokens = settlement.tokens - row.tokens
  for _, scope in ipairs(row.scopes) do
    local key, second = scope[3], scope[4]
    if key and (tokens ~= 0 or not counts) then
      local rates = read_rates(key, now)
      if second > rates.second - SECONDS and second <= rates.second then
        add_to_rates(rates, second, counts and 0 or -1, tokens)
      end
    end
  end
end

local function charge_without_hold()
  for i = 3, #KEYS do
    local c = read_counters(KEYS[i])
    if c and c.window == settlement.window then
      c.settled = c.settled + cost
      c.requests = c.requests + (counts and 1 or 0)
      write_counters(c)
    end
  end
end

local packed = redis.call('HGET', holds, id)
local row = packed and cmsgpack.unpack(packed)
if row and row.is_done then
  return 'DUP'
end
local counters = read_counters(KEYS[3])
local current = counters and counters.epoch
if row then
  -- Deleting comes first: a store that is out of memory allows it, and then the writes after it.
  redis.call('HDEL', holds, id)
  redis.call('ZREM', expiries, id)
  close_hold(row, cost, counts, is_posted)
  correct_rates(row)
  if current ~= settlement.epoch then
    remember(holds, expiries, id, DONE, now)
  end
  return row.is_held and 'OK' or 'LATE'
end
if not current then
  return 'NOSTATE'
end
if current == settlement.epoch or is_posted then
  return 'DUP'
end
charge_without_hold()
remember(holds, expiries, id, DONE, now)
return 'LOST'

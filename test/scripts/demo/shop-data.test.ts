import { describe, expect, it } from "vitest";
import { luhnDigit, shopData } from "../../../scripts/demo/shop-data.ts";

describe("the shop's rows", () => {
  const data = shopData();

  it("are 2,000 customers with card numbers that pass the Luhn check", () => {
    expect(data.customers).toHaveLength(2000);
    for (const { card_number: number } of data.customers) {
      expect(number).toMatch(/^(4\d{15}|5[1-5]\d{14}|37\d{13})$/);
      expect(luhnDigit(number.slice(0, -1))).toBe(number.at(-1));
    }
  });

  it("are the same each time", () => {
    expect(shopData()).toEqual(data);
  });

  it("refer to each other: orders to customers, payments to orders, employees to managers", () => {
    const customers = new Set(data.customers.map(({ id }) => id));
    const orders = new Set(data.orders.map(({ id }) => id));
    const employees = new Set(data.employees.map(({ id }) => id));
    expect(data.orders.every(({ customer_id }) => customers.has(customer_id))).toBe(true);
    expect(data.payments.every(({ order_id }) => orders.has(order_id))).toBe(true);
    expect(data.employees.every(({ manager_id }) => manager_id === null || employees.has(manager_id))).toBe(
      true,
    );
  });

  it("name nobody twice by number, and no SSN that cannot be one", () => {
    expect(new Set(data.customers.map(({ ssn }) => ssn)).size).toBe(2000);
    for (const { ssn } of data.customers)
      expect(ssn).toMatch(/^(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}$/);
  });
});

describe("the Luhn digit", () => {
  it.each([
    ["411111111111111", "1"],
    ["555555555555444", "4"],
    ["37828224631000", "5"],
    ["7992739871", "3"],
  ])("of %s is %s", (digits, expected) => {
    expect(luhnDigit(digits)).toBe(expected);
  });
});
